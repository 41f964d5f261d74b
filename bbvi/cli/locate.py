"""The models that a command line can name: of the gallery, or in a Python file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from bbvi.model.model import Model


class UsageError(Exception):
    """What was asked for cannot be done; the message says why."""


def load_model(text: str) -> tuple[Model, str]:
    """The model that the command line names, and a name for its files.

    Raises
    ------
    UsageError
        If there is none of that name, or it is no model.
    """
    path, colon, name = text.rpartition(":")
    if not colon or not path:
        if Path(text).suffix == ".py":
            raise UsageError(
                f"which model in {text}? Write {text}:name, a bbvi.Model or a function that returns one"
            )
        known = gallery()
        if text not in known.names():
            raise UsageError(
                f"the gallery has no model {text!r}{_nearest(text, known.names())}: 'bbvi models' lists it; or write "
                "path/to/file.py:name"
            )
        return known.load(text), text
    module = _module(Path(path))
    found = getattr(module, name, None)
    if found is None:
        raise UsageError(f"{path} has no {name!r}{_nearest(name, _public(module))}")
    if callable(found) and not isinstance(found, Model):
        try:
            found = found()
        # Whatever it raises is the user's own to mend.
        except Exception as error:
            raise UsageError(f"{text} failed: {type(error).__name__}: {with_notes(error)}") from error
    if not isinstance(found, Model):
        raise UsageError(
            f"{text}: expected a bbvi.Model or a function that returns one, got {type(found).__name__}"
        )
    stem = Path(path).stem
    return found, stem if name in ("model", "main") else f"{stem}_{name}"


def _module(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # A model may import what stands beside it.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} cannot be imported: {type(error).__name__}: {with_notes(error)}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def _nearest(name: str, known: Sequence[str]) -> str:
    """Those of the known names that may have been meant."""
    near = get_close_matches(name, known, cutoff=0.5)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def _public(module: Any) -> list[str]:
    named = vars(module).items()
    return [name for name, value in named if not name.startswith("_") and not isinstance(value, ModuleType)]


def gallery() -> Any:
    """The package of models, imported when it is asked for."""
    return importlib.import_module("bbvi.models")


def with_notes(error: BaseException) -> str:
    """An exception's message with the notes that were added to it."""
    return " ".join([str(error), *(f"({note})" for note in getattr(error, "__notes__", []))])
