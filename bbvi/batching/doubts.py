"""Whether a function's code can learn what a recording cannot notice: types, errors, plain values, a state."""

from __future__ import annotations

import contextlib
import dis
import functools
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import Box, isbox

from bbvi.serial import digest

# While it is recorded, a function sees a stand-in for each latent, which these tell from an array. What only asks
# `isinstance` is answered as for an array.
_ASKING = (type, repr, vars, dir, isbox, Box, ArrayBox, sys._getframe, sys.getsizeof, memoryview, np.shares_memory,
           np.may_share_memory)  # fmt: skip
_WORDS = frozenset({value.__name__ for value in _ASKING}) | {
    "currentframe", "dtype", "True_", "False_", "_node", "_trace", "_value",
}  # fmt: skip
# By these, errors and warnings end or go elsewhere.
_CATCHING = frozenset({"suppress", "catch_warnings", "seterrcall"})
# Names between underscores that are asked of modules and functions rather than of values.
_HARMLESS = frozenset({"__name__", "__file__", "__version__", "__debug__", "__init__", "__call__", "__main__"})
# What stays what it is, or is looked into: functions and modules.
_STILL = (
    int, float, complex, str, bytes, range, type(None), np.ndarray, np.generic,
    type, FunctionType, MethodType, BuiltinFunctionType, ModuleType, functools.partial, property, staticmethod,
    classmethod,
)  # fmt: skip
_STILL_LIBRARIES = frozenset({"numpy", "scipy", "autograd", "bbvi"})
_LIBRARIES = frozenset({"numpy", "autograd", "scipy", "bbvi", *sys.stdlib_module_names}) - {"__main__"}


def doubt_of(function: Callable[..., Any]) -> str:
    """Why a recording of a function may differ from it without a sign; empty where its code shows no reason.

    It looks at the code of the function, and of those of the user's that it calls, alone, so that it may find what
    never meets a latent: what follows from it may cost time, but nothing else. A name that is put together while the
    function runs is not seen.
    """
    for value, plain, _ in _reached(function):
        if any(value is asking for asking in _ASKING):
            return _of_types(value.__name__)
        if plain is None:
            continue
        if _is_own_primitive(plain):
            return f"it has a primitive of its own ({plain.__name__}), which is given plain values"
        found = "" if _of_a_library(plain.__module__ or "") else _found_in(plain.__code__)
        if found:
            return found
    return ""


def may_keep_state(function: Callable[..., Any]) -> bool:
    """Whether a function writes outside itself, or reads what others may change: a dict, a list, an object.

    Of arrays, numbers and texts `what_is_read` tells whether they changed.
    """
    for _, plain, held in _reached(function):
        if plain is not None and _of_a_library(plain.__module__ or ""):
            continue
        if any(map(_may_change, held)) or (plain is not None and _writes_outside(plain.__code__)):
            return True
    return False


def what_is_read(function: Callable[..., Any]) -> tuple[Any, ...]:
    """What a function reads beside its arguments, to be compared with what it reads later."""
    return tuple(
        _as_it_is(value)
        for _, plain, held in _reached(function)
        if plain is None or not _of_a_library(plain.__module__ or "")
        for value in held
    )


def _as_it_is(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype != object:
        return digest(value)
    return value if isinstance(value, (int, float, complex, str, bytes)) else id(value)


def _reached(function: Callable[..., Any]) -> Iterator[tuple[Any, FunctionType | None, list[Any]]]:
    """Each value that a function can name, the Python function behind it where there is one, and what that holds."""
    waiting: list[Any] = [function]
    seen: set[FunctionType] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, functools.partial):
            given = [value.func, *value.args, *value.keywords.values()]
            waiting += given
            yield value, None, given
            continue
        plain, owner = _plain(value)
        if plain is None:
            yield value, None, []
        elif plain not in seen:
            seen.add(plain)
            held = _held_by(plain, owner)
            waiting += held
            yield value, plain, held


def _held_by(function: FunctionType, owner: list[Any]) -> list[Any]:
    """What is in a function's closure and its defaults, and the globals and the attributes that it names."""
    held: list[Any] = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        # One that is not filled yet holds nothing.
        with contextlib.suppress(ValueError):
            held.append(cell.cell_contents)
    if _of_a_library(function.__module__ or ""):
        return held
    words = set(_words(function.__code__))
    known = [function.__globals__[word] for word in words if word in function.__globals__]
    holders = [*(x for x in known if isinstance(x, ModuleType)), *owner]
    return held + known + owner[:1] + [vars(holder)[word] for holder in holders for word in words & vars(holder).keys()]


def _found_in(code: CodeType) -> str:
    words = set(_words(code))
    asking = {word for word in words if word in _WORDS or _is_special(word)}
    if asking:
        return _of_types(min(asking))
    if words & _CATCHING or _handles_errors(code):
        return f"it catches errors ({min(words & _CATCHING, default='except')}), which may be of some draws alone"
    return ""


def _of_types(word: str) -> str:
    return f"it may ask for the types of its arguments ({word})"


def _is_special(word: str) -> bool:
    return word.startswith("__") and word.endswith("__") and word.isidentifier() and word not in _HARMLESS


def _handles_errors(code: CodeType) -> bool:
    """Whether there is an ``except`` or a ``finally`` in a function's code, or in that of the functions within it."""
    names = [instruction.opname for instruction in dis.get_instructions(code)]
    if any(one == "PUSH_EXC_INFO" and then != "WITH_EXCEPT_START" for one, then in pairwise(names)):
        return True
    return any(_handles_errors(constant) for constant in code.co_consts if isinstance(constant, CodeType))


def _writes_outside(code: CodeType) -> bool:
    """Whether a function binds a variable that is not its own, or an attribute of anything."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_GLOBAL", "STORE_ATTR"):
            return True
        if instruction.opname == "STORE_DEREF" and instruction.argval in code.co_freevars:
            return True
    return any(_writes_outside(constant) for constant in code.co_consts if isinstance(constant, CodeType))


def _may_change(value: Any) -> bool:
    if isinstance(value, (tuple, frozenset)):
        return any(map(_may_change, value))
    if isinstance(value, (np.random.Generator, np.random.RandomState)):
        return True
    return not isinstance(value, _STILL) and type(value).__module__.partition(".")[0] not in _STILL_LIBRARIES


def _is_own_primitive(function: FunctionType) -> bool:
    marked: Any = function
    if not hasattr(marked, "_is_autograd_primitive"):
        return False
    return not _of_a_library(getattr(marked.fun, "__module__", None) or "numpy")


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
