"""What primitives of vectors and matrices share: registration, vjps that broadcast, masks."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
from autograd.core import VJPNode, vspace
from autograd.extend import primitive, register_notrace

from bbvi.stats.primitives import Function, unbroadcast
from bbvi.stats.special import select

# How far a sum of probabilities may be from one: wide enough for finite differences.
SUM_TOLERANCE = 1e-5

CORE_DIMS: dict[Function, tuple[tuple[int, ...], int]] = {}


def vector_primitive(name: str, value: Function, inputs: tuple[int, ...], output: int = 0) -> Function:
    """An autograd primitive whose arguments have `inputs` trailing axes of their own, and its result `output`."""
    fun = primitive(value)
    fun.__name__ = name
    CORE_DIMS[fun] = (inputs, output)
    made: Function = fun
    return made


def vector_test(name: str, test: Function, inputs: tuple[int, ...], output: int = 0) -> Function:
    """A test of vectors, such as of their support: it has no derivative, and a recording carries it out afresh."""
    fun = vector_primitive(name, test, inputs, output)
    register_notrace(VJPNode, fun)
    return fun


def no_vjp(argnum: int) -> Function:
    """The vjp of an argument that has no derivative."""
    return lambda ans, *args: lambda g: vspace(args[argnum]).zeros()


def column(g: Any) -> Any:
    """g with an axis behind, to multiply vectors."""
    return anp.reshape(g, (*anp.shape(g), 1))


def matrix(g: Any) -> Any:
    """g with two axes behind, to multiply matrices."""
    return anp.reshape(g, (*anp.shape(g), 1, 1))


def vjp_by(argnum: int, formula: Function) -> Function:
    """The vjp for one argument from ``formula(g, *args)``, the product before the sum over broadcast axes."""

    def make(ans: Any, *args: Any) -> Function:
        shape = anp.shape(args[argnum])
        return lambda g: unbroadcast(formula(g, *args), shape)

    return make


def masked(mask: Any, formula: Function, *args: Any) -> Any:
    """formula(*args) where the mask is true, 0 elsewhere; the arguments are replaced by 1/2 there.

    Whether the mask is true everywhere is not asked, since a recording would keep the answer for other draws.
    """
    return select(mask, formula(*[select(mask, arg, 0.5) for arg in args]), 0.0)
