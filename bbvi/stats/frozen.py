"""Densities by name, and with parameters that stay: ``norm.logpdf(x, 0, 5)`` and ``norm(0, 5).logpdf(x)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np


class Density(SimpleNamespace):
    """The functions of one density or mass; called with parameters, it gives a `Frozen` one, as in SciPy.

    `axes` is how many of the last axes of what it is of are its own, as those of a vector. `sampler`, where SciPy has
    none, gives draws of a whole shape, from that, a generator and the parameters.
    """

    # A slot, so that `vars` holds the functions alone.
    __slots__ = ("axes", "name", "sampler")

    axes: int
    name: str
    sampler: Callable[..., Any] | None

    def __init__(
        self, name: str, axes: int = 0, sampler: Callable[..., Any] | None = None, **functions: Any
    ) -> None:
        super().__init__(**functions)
        self.name, self.axes, self.sampler = name, axes, sampler

    def __call__(self, *parameters: Any, **named: Any) -> Frozen:
        """The density with these parameters."""
        return Frozen(self, *parameters, **named)

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_name, (self.name,)


class Frozen:
    """A density with its parameters, such as ``norm(0, 5)``.

    Parameters
    ----------
    density : Density
    *parameters, **named
        As after the first argument of its ``logpdf`` or ``logpmf``.

    Raises
    ------
    TypeError
        If there is one too many, too few, or of another name.
    """

    def __init__(self, density: Density, *parameters: Any, **named: Any) -> None:
        self.density, self.parameters, self.named = density, parameters, named
        self._word = "logpdf" if hasattr(density, "logpdf") else "logpmf"
        try:
            inspect.signature(getattr(density, self._word)).bind(None, *parameters, **named)
        except TypeError as error:
            raise TypeError(f"{self}: {error}") from None

    def log_density(self, x: Any) -> Any:
        """Its ``logpdf``, or ``logpmf`` for counts."""
        return getattr(self.density, self._word)(x, *self.parameters, **self.named)

    def __getattr__(self, word: str) -> Any:
        if word.startswith("_") or not hasattr(self.density, word):
            raise AttributeError(f"{self.density.name} has no function {word!r}")
        function = getattr(self.density, word)
        return lambda x: function(x, *self.parameters, **self.named)

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Random draws, by SciPy where it has the density.

        Parameters
        ----------
        size : int or tuple of int, optional
            For ``lkj_cholesky`` the whole shape (..., K, K), since eta does not say K.
        random_state : numpy.random.Generator or int, optional

        Raises
        ------
        NotImplementedError
            Where neither SciPy nor bbvi draws from that density.
        """
        import scipy.stats

        if self.density.sampler is not None:
            return self.density.sampler(size, np.random.default_rng(random_state), *self.parameters, **self.named)
        theirs = getattr(scipy.stats, self.density.name, None)
        if theirs is None:
            raise NotImplementedError(f"rvs: SciPy has no {self.density.name}, so that draws are yours to make")
        rng = np.random.default_rng(random_state) if isinstance(random_state, int) else random_state
        given = () if size is None else (size,)
        return theirs(*self.parameters, **self.named).rvs(*given, random_state=rng)

    @property
    def drawable(self) -> bool:
        """Whether `rvs` can be asked for."""
        import scipy.stats

        return self.density.sampler is not None or hasattr(scipy.stats, self.density.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.density.name, self.parameters, self.named)

    def __repr__(self) -> str:
        shown = [*map(repr, self.parameters), *(f"{name}={value!r}" for name, value in self.named.items())]
        return f"{self.density.name}({', '.join(shown)})"


def _by_name(name: str) -> Any:
    from bbvi import stats

    form, _, inner = name.rstrip(")").partition("(")
    return getattr(stats, form)(getattr(stats, inner)) if inner else getattr(stats, name)


def _again(name: str, parameters: tuple[Any, ...], named: dict[str, Any]) -> Frozen:
    return Frozen(_by_name(name), *parameters, **named)
