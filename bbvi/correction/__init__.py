"""From an optimum to the posterior, and what that is worth."""
