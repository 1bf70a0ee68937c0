"""Gradients by pieces against those of the whole batch, whose error is written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.numerics.pieces import summed_gradient


def error(parameters, data):
    x, target, weight = data
    each = weight @ (jnp.tanh(x @ parameters["w"]) + parameters["b"] - target) ** 2
    return jnp.sum(each), each


@pytest.fixture
def problem():
    keys = jax.random.split(jax.random.key(0), 5)
    data = (
        jax.random.normal(keys[0], (103, 4)),
        jax.random.normal(keys[1], (103, 2)),
        jax.random.uniform(keys[2], (103,)) / 103,
    )
    return {"w": jax.random.normal(keys[3], (4, 2)), "b": jax.random.normal(keys[4], (2,))}, data


@pytest.mark.parametrize("rows", [1, 10, 50, 102, 103, 200])
def test_pieces_add_up(problem, rows):
    """Also where the last piece is not full."""
    parameters, (x, target, weight) = problem
    slope, each = summed_gradient(error, parameters, (x, target, weight), rows=rows)
    hidden = np.tanh(np.asarray(x) @ np.asarray(parameters["w"]))
    wrong = hidden + np.asarray(parameters["b"]) - np.asarray(target)
    back = 2 * np.asarray(weight)[:, None] * wrong
    np.testing.assert_allclose(each, np.asarray(weight) @ wrong**2, rtol=1e-5)
    np.testing.assert_allclose(slope["b"], back.sum(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(slope["w"], np.asarray(x).T @ (back * (1 - hidden**2)), rtol=1e-4, atol=1e-6)


def test_a_small_batch_is_taken_as_it_is(problem):
    parameters, data = problem
    whole, _ = jax.grad(error, has_aux=True)(parameters, data)
    slope, _ = summed_gradient(error, parameters, data, rows=103)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), whole, slope))
