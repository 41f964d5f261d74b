"""Steps towards the optimum, and the one loop that takes them."""
