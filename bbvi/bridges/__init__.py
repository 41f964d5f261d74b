"""Doors to models that exist in other packages, which are imported when a bridge is crossed."""

from bbvi.bridges.of_jax import from_jax
from bbvi.bridges.of_numpyro import from_numpyro
from bbvi.bridges.of_pymc import from_pymc
from bbvi.bridges.of_stan import from_stan

__all__ = ["from_jax", "from_numpyro", "from_pymc", "from_stan"]
