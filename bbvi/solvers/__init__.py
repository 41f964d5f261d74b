"""Solvers: how the parameters of the approximation are found."""
