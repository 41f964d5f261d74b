"""Which optimum: starts, modes, symmetries and rivals."""
