"""Whether a function's code can ask what type its arguments are of, which a recording cannot notice."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

# While it is recorded, a function sees a stand-in for each latent, which these tell from an array. What only asks
# `isinstance` is answered as for an array.
_WORDS = frozenset({
    "type", "repr", "vars", "dir", "isbox", "Box", "ArrayBox", "_getframe", "_node", "_trace", "_value",
    "__class__", "__dict__", "__array_interface__",
})  # fmt: skip
_LIBRARIES = frozenset({"numpy", "autograd", "scipy", "bbvi", *sys.stdlib_module_names}) - {"__main__"}


def asks_for_types(function: Callable[..., Any]) -> str:
    """The first name by which a function, or a function of the user's that it calls, may ask for types; else empty.

    It looks at names in the code alone, so that it may find one that is never used on a latent: what follows from it
    may cost time, but nothing else. A name that is put together while the function runs is not seen.
    """
    waiting: list[Any] = [function]
    seen: set[CodeType] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, functools.partial):
            waiting += [value.func, *value.args, *value.keywords.values()]
            continue
        plain, owner = _plain(value)
        if plain is None or plain.__code__ in seen:
            continue
        seen.add(plain.__code__)
        for cell in plain.__closure__ or ():
            # One that is not filled yet holds nothing.
            with contextlib.suppress(ValueError):
                waiting.append(cell.cell_contents)
        waiting += [*(plain.__defaults__ or ()), *(plain.__kwdefaults__ or {}).values()]
        if _of_a_library(plain.__module__ or ""):
            continue
        words = set(_words(plain.__code__))
        if words & _WORDS:
            return min(words & _WORDS)
        known = [plain.__globals__[word] for word in words if word in plain.__globals__]
        holders = [*(x for x in known if isinstance(x, ModuleType)), *owner]
        waiting += known + [vars(holder)[word] for holder in holders for word in words & vars(holder).keys()]
    return ""


def _plain(value: Any) -> tuple[FunctionType | None, list[Any]]:
    """The Python function behind a callable, where there is one, and whatever else holds functions for it."""
    owner = getattr(value, "__self__", None) if isinstance(value, MethodType) else None
    if not isinstance(value, (FunctionType, MethodType, ModuleType, type)) and callable(value):
        owner = None if hasattr(value, "__wrapped__") else value
        value = getattr(value, "__wrapped__", None) or type(value).__call__
    value = value.__func__ if isinstance(value, MethodType) else value
    held = [] if owner is None else [x for x in (owner, *type(owner).__mro__) if hasattr(x, "__dict__")]
    return (value if isinstance(value, FunctionType) else None), held


def _of_a_library(module: str) -> bool:
    return module.partition(".")[0] in _LIBRARIES and not module.startswith("bbvi.models.")


def _words(code: CodeType) -> Iterator[str]:
    """Names and strings in a function's code, and in that of the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _words(constant)
