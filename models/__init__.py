"""The gallery: models that tell a story each, with reference posteriors from long runs of MCMC.

``names()`` lists them, ``load(name)`` builds one, ``summary(name)`` is its line in the list, and
``reference(name)`` is what a fit of it should come to. A model is imported when it is asked for.
"""

import importlib
import pkgutil
from difflib import get_close_matches
from types import ModuleType
from typing import TYPE_CHECKING

from bbvi.models._reference import Reference, reference

if TYPE_CHECKING:
    from bbvi import Model

__all__ = ["Reference", "load", "names", "reference", "summary"]


def names() -> list[str]:
    """Names of the gallery's models, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> "Model":
    """
    Build a model of the gallery.

    Parameters
    ----------
    name
        One of `names`.

    Raises
    ------
    ValueError
        If there is no such model.
    """
    made: Model = _module(name).model()
    return made


def summary(name: str) -> str:
    """The model's story in one line, the first of its docstring."""
    return (_module(name).__doc__ or "").partition("\n")[0]


def _module(name: str) -> ModuleType:
    known = names()
    if name not in known:
        near = get_close_matches(name, known, cutoff=0.5)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ValueError(f"name: expected one of {', '.join(known)}; got {name!r}{hint}")
    return importlib.import_module(f"bbvi.models.{name}")
