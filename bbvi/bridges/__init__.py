"""Doors to models of other packages."""
