"""The counted, unconstrained log density of all draws at once."""
