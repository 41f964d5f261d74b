"""A function of one draw, evaluated for all draws: recorded, replayed, differentiated."""
