"""Trying a model out, before a fit and after."""
