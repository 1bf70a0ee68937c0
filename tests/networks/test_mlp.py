"""Multi-layer perceptrons and twin critics against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.networks.critics import TwinQ
from surefoot.networks.mlp import Activation, Mlp

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_forward_pass_on_any_leading_axes(activation: Activation) -> None:
    network = Mlp.create((3, 4, 4, 2), jax.random.key(0), activation=activation)
    bend = np.tanh if activation == "tanh" else lambda x: np.maximum(x, 0)
    w, b = network.weights, network.biases
    expected = bend(bend(X @ w[0] + b[0]) @ w[1] + b[1]) @ w[2] + b[2]
    np.testing.assert_allclose(network(jnp.asarray(X)), expected, atol=1e-5)
    np.testing.assert_allclose(network(jnp.asarray(X[1, 2])), expected[1, 2], atol=1e-5)


def test_starts_uniform_in_its_bounds() -> None:
    network = Mlp.create((100, 50, 20), jax.random.key(1), last_scale=0.01)
    for weights, biases, bound in zip(network.weights, network.biases, (0.1, 0.01 * 50**-0.5), strict=True):
        assert np.abs(weights).max() <= bound and np.abs(biases).max() <= bound
        # A uniform variable has the standard deviation bound / sqrt(3); 1000 draws or more are within 5 %.
        np.testing.assert_allclose(np.std(weights), bound / 3**0.5, rtol=0.05)
        np.testing.assert_allclose(np.mean(weights), 0, atol=0.1 * bound)
    again = Mlp.create((100, 50, 20), jax.random.key(1), last_scale=0.01)
    assert all(np.array_equal(a, b) for a, b in zip(network.weights, again.weights, strict=True))


def test_twin_critics_are_two_different_networks_and_their_minimum() -> None:
    critics = TwinQ.create((3, 4, 2), jax.random.key(2))
    x = jnp.asarray(X[0])
    both = critics(x)
    assert both.shape == (2, 5, 2) and np.abs(both[0] - both[1]).max() > 1e-3
    for i in range(2):
        w = [np.asarray(a)[i] for a in critics.networks.weights]
        b = [np.asarray(a)[i] for a in critics.networks.biases]
        np.testing.assert_allclose(both[i], np.maximum(X[0] @ w[0] + b[0], 0) @ w[1] + b[1], atol=1e-5)
    np.testing.assert_array_equal(critics.minimum(x), np.minimum(both[0], both[1]))
