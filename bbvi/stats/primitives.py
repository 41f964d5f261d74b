"""Makes autograd primitives that act elementwise, from a value and its partial derivatives."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import make_vjp, vspace
from autograd.extend import defvjp_argnums, primitive
from autograd.tracer import isbox

Function = Callable[..., Any]
Array = np.ndarray

elementwise_primitives: set[Function] = set()
# Partial derivatives that are primitives: what gives all of one function at once, and which of them each is.
joint_partials: dict[Function, tuple[Function, int]] = {}


def elementwise(
    name: str, value: Function, partials: Sequence[Function | None], joint: Function | None = None
) -> Function:
    """
    Make an elementwise, broadcasting primitive.

    Parameters
    ----------
    name
        The name that the primitive carries in error messages.
    value
        Plain NumPy function of the arguments.
    partials
        For each argument the partial derivative, a function of the same arguments that autograd can
        differentiate (a primitive, or a formula in ``autograd.numpy``); None where it is zero everywhere.
    joint
        Optional shortcut for plain arrays: of the same arguments, returns a function from the position of an
        argument to its partial derivative, so that the partials share what they have in common.

    Returns
    -------
    The primitive. It takes positional arguments only.
    """
    fun = primitive(value)
    fun.__name__ = name

    def vjps(argnums: tuple[int, ...], ans: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Function:
        shared: list[Function] = []

        def partial(i: int) -> Any:
            if joint is None or any(map(isbox, args)):
                return partials[i](*args)  # type: ignore[misc]
            if not shared:
                shared.append(joint(*args))
            return shared[0](i)

        pullbacks = [_pullback(partials[i] and partial, i, args[i]) for i in argnums]
        return lambda g: tuple(pullback(g) for pullback in pullbacks)

    defvjp_argnums(fun, vjps)
    elementwise_primitives.add(fun)
    made: Function = fun
    return made


def as_one(name: str, formula: Function, varying: Sequence[bool]) -> Function:
    """
    An elementwise primitive of a formula that looks at values, and so takes another course at other values.

    Written out, such a formula would leave a recording with the operations of one course and the masks of one draw.
    As one primitive it is carried out afresh wherever it is replayed.

    Parameters
    ----------
    name
        The name that the primitive carries in error messages.
    formula
        In ``autograd.numpy``; it may ask for the values of its arguments.
    varying
        For each argument, whether there is a derivative in it. Those are traced through the formula when asked for.
    """

    return elementwise(
        name, _full(formula), [_derivative(formula, i) if varies else None for i, varies in enumerate(varying)]
    )


def composed(name: str, formula: Function, varying: Sequence[bool]) -> Function:
    """
    A density made of others by a formula that looks at values, as one primitive to its second derivatives.

    Each of its derivatives is a primitive, too, so that recordings of gradients and of Hessian products carry them out
    afresh; all of them are traced through the formula.

    Parameters
    ----------
    name, formula, varying
        As for `as_one`.
    """

    def first(i: int) -> Function:
        derivative = _derivative(formula, i)
        by_all = [
            as_one(f"{name}_{i}_{j}", _derivative(derivative, j), varying) if varies else None
            for j, varies in enumerate(varying)
        ]
        return elementwise(f"{name}_{i}", derivative, by_all)

    return elementwise(name, _full(formula), [first(i) if varies else None for i, varies in enumerate(varying)])


def _full(formula: Function) -> Function:
    """The formula in the shape that its arguments broadcast to."""

    def full(*args: Any) -> Any:
        out, shape = formula(*args), np.broadcast_shapes(*map(np.shape, args))
        return out if np.shape(out) == shape else np.broadcast_to(out, shape)

    return full


def _derivative(formula: Function, position: int) -> Function:
    """The derivative of an elementwise formula in one argument, element by element."""

    def derivative(*args: Any) -> Any:
        one = np.ones(np.broadcast_shapes(*map(np.shape, args)))
        before, after = args[:position], args[position + 1 :]
        # What does not depend on x here has a derivative of zero, and autograd no word to say about it.
        product, _ = make_vjp(
            lambda x: formula(*before, x, *after) + 0.0 * one + 0.0 * anp.arctan(x), args[position] * one
        )
        return product(one)

    return derivative


def _pullback(partial: Function | None, position: int, target: Any) -> Function:
    """The vjp for one argument. The partial is kept: Hessian products pull back many vectors at one point."""
    if partial is None:
        return lambda g: vspace(target).zeros()
    shape = np.shape(target)
    kept: list[Any] = []

    def pullback(g: Any) -> Any:
        if not kept:
            kept.append(partial(position))
        return contract(g, kept[0], shape)

    return pullback


def contract(g: Any, partial: Any, shape: tuple[int, ...]) -> Any:
    """``g * partial``, summed over the axes along which an argument of this shape was broadcast."""
    if isbox(g) or isbox(partial):
        return unbroadcast(g * partial, shape)
    full = np.shape(g)
    if full == shape:
        return g * partial
    if np.shape(partial) != full:
        return unbroadcast(g * partial, shape)
    # One pass and no temporary, where a product followed by a sum needs two and one.
    lead = len(full) - len(shape)
    axes = list(range(len(full)))
    kept = [axis for axis in axes[lead:] if shape[axis - lead] == full[axis]]
    return np.einsum(g, axes, partial, axes, kept).reshape(shape)[()]


def inplace(ufunc: np.ufunc, out: Any, other: Any) -> Any:
    """``ufunc(out, other)``, written over the temporary ``out`` where the result fits."""
    if isinstance(out, np.ndarray) and out.dtype == np.float64:
        shape = np.shape(other)
        if not shape or shape == out.shape or np.broadcast_shapes(shape, out.shape) == out.shape:
            return ufunc(out, other, out=out)
    return ufunc(out, other)


def unbroadcast(x: Any, shape: tuple[int, ...]) -> Any:
    """Sum x over the axes along which an array of this shape was broadcast."""
    full = np.shape(x)
    if full == shape:
        return x
    lead = len(full) - len(shape)
    axes = tuple(a for a, size in enumerate(full) if a < lead or (shape[a - lead] == 1 and size != 1))
    return anp.reshape(anp.sum(x, axis=axes), shape)


def operand(x: Any, of: str) -> Any:
    """What a user passed to the function `of`, as something to compute with: a float array, a number or a box."""
    if isbox(x) or isinstance(x, float):
        return x
    if isinstance(x, np.ndarray):
        return x if x.dtype.kind == "f" else _floats(x, of)
    if isinstance(x, bool | int):
        return int(x)
    if isinstance(x, list | tuple):
        return operand(anp.array(x), of)
    return operand(np.asarray(x), of)


def _floats(x: np.ndarray, of: str) -> np.ndarray:
    # Text that looks like numbers would pass, and of complex numbers a part would be lost.
    if x.dtype.kind not in "biuO":
        kind = {"c": "complex numbers", "U": "text", "S": "text"}.get(x.dtype.kind, str(x.dtype))
        first = f", {x.ravel()[0]} first" if x.size else ""
        raise TypeError(f"{of}: expected real numbers, got {kind} of shape {x.shape}{first}")
    return x.astype(float)


class _Watch(threading.local):
    note: Callable[[str, Sequence[Any], Any], None] | None = None


_watch = _Watch()


@contextmanager
def watching(note: Callable[[str, Sequence[Any], Any], None]) -> Iterator[None]:
    """
    While it lasts, this thread's calls of public functions are noted: ``note(name, arguments, value)``.

    The name is that of the distribution and the function, such as ``"norm.logpdf"``.
    """
    before, _watch.note = _watch.note, note
    try:
        yield
    finally:
        _watch.note = before


@contextmanager
def unwatched() -> Iterator[None]:
    """While it lasts, this thread's calls are not noted."""
    before, _watch.note = _watch.note, None
    try:
        yield
    finally:
        _watch.note = before


def public(fun: Function, name: str, arguments: str, doc: str) -> Function:
    """
    The function that users call: keyword arguments, defaults, sequences as arrays.

    ``arguments`` is the signature, such as ``"x, loc=0, scale=1"``. The primitive gets positional arguments,
    since autograd differentiates no others.
    """
    pairs = [part.strip().partition("=") for part in arguments.split(",")]
    names = [pair[0] for pair in pairs]
    defaults = tuple(int(pair[2]) for pair in pairs if pair[1])
    required = len(names) - len(defaults)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = len(args)
        if kwargs or given < required or given > len(names):
            args = _bind(name, names, required, defaults, args, kwargs)
        elif given < len(names):
            args += defaults[given - required :]
        operands = [operand(arg, fun.__name__) for arg in args]
        value = fun(*operands)
        if _watch.note is not None:
            _watch.note(fun.__name__, operands, value)
        return value

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{name}({arguments})\n\n{doc}"
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for key, default in zip(names, [inspect.Parameter.empty] * required + list(defaults), strict=True)
        ]
    )
    return call


def _bind(
    name: str,
    names: list[str],
    required: int,
    defaults: tuple[int, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, ...]:
    """Positional arguments from positional and keyword ones, or the TypeError that Python would raise."""
    if len(args) > len(names):
        listed = ", ".join(names)
        raise TypeError(f"{name}() takes at most {len(names)} arguments ({listed}), got {len(args)}")
    values = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        if key not in names:
            raise TypeError(f"{name}() has no argument {key!r}; its arguments are {', '.join(names)}")
        if key in values:
            raise TypeError(f"{name}() got {key!r} twice")
        values[key] = value
    for key, default in zip(names[required:], defaults, strict=True):
        values.setdefault(key, default)
    missing = [key for key in names if key not in values]
    if missing:
        raise TypeError(f"{name}() misses {', '.join(missing)}; its arguments are {', '.join(names)}")
    return tuple(values[key] for key in names)
