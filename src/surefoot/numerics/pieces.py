"""Gradients of sums over a large batch, piece by piece.

On a CPU the numbers between the layers of a network, of 30,000 states at once, are tens of megabytes that go
to memory and back. In pieces they stay in the cache, and are not kept: the regression of a critic was
measured 1.75 times faster with 64 units and 1.4 times with 256. The sum is the same but for its rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

Parameters = TypeVar("Parameters")

ROWS = 5_000
"""Largest piece."""


def summed_gradient(
    error: Callable[[Parameters, Any], tuple[Array, PyTree]],
    parameters: Parameters,
    data: PyTree,
    *,
    rows: int = ROWS,
) -> tuple[Any, PyTree]:
    """Gradient of ``error(parameters, data)`` with its auxiliary output, both of them sums over the rows.

    ``data`` is a tree of arrays with rows as their first axis. Rows of zeros are added so that the pieces are
    of one size: their error must be zero with a slope of zero, as that of any row with a weight of zero is.
    """
    slope = jax.grad(error, has_aux=True)
    count = jax.tree.leaves(data)[0].shape[0]
    if count <= rows:
        return slope(parameters, data)
    pieces = math.ceil(count / rows)
    size = math.ceil(count / pieces)

    def cut(x: Array) -> Array:
        padded = jnp.pad(x, [(0, pieces * size - count)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(pieces, size, *x.shape[1:])

    def add(total: Any, piece: PyTree) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, slope(parameters, piece)), None

    cuts = jax.tree.map(cut, data)
    shapes = jax.eval_shape(slope, parameters, jax.tree.map(lambda x: x[0], cuts))
    return jax.lax.scan(add, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), cuts)[0]
