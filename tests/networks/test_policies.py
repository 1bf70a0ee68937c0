"""Policies against SciPy's distributions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import CategoricalPolicy, GaussianPolicy, WarmUp

NETWORK = Mlp.create((2, 8, 3), jax.random.key(0))
STATES = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)), jnp.float32)
OUTPUTS = np.asarray(NETWORK(STATES), np.float64)
MANY = 6000


def keys(seed: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), MANY)


def test_categorical_probabilities_and_entropy() -> None:
    policy = CategoricalPolicy(NETWORK)
    p = np.exp(OUTPUTS) / np.exp(OUTPUTS).sum(axis=1, keepdims=True)
    every = jnp.arange(3)
    log_p = np.stack([policy.log_prob(STATES, jnp.full(6, a)) for a in every], axis=1)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-5)
    np.testing.assert_allclose(policy.log_probabilities(STATES), log_p, rtol=1e-6)
    np.testing.assert_allclose(policy.entropy(STATES), [stats.entropy(row) for row in p], rtol=1e-5)
    np.testing.assert_array_equal(policy.mode(STATES), p.argmax(axis=1))
    # One observation, and more leading axes, give the same numbers.
    np.testing.assert_allclose(policy.log_prob(STATES[2], jnp.asarray(1)), log_p[2, 1], rtol=1e-6)
    deep = policy.entropy(STATES.reshape(2, 3, 2))
    np.testing.assert_allclose(deep.ravel(), policy.entropy(STATES), rtol=1e-6)


def test_categorical_with_extreme_outputs_stays_finite() -> None:
    network = Mlp((jnp.zeros((1, 2)),), (jnp.asarray([1e4, -1e4]),), "relu")
    policy = CategoricalPolicy(network)
    assert float(policy.entropy(jnp.ones(1))) == 0.0
    slope = jax.grad(lambda p: p.entropy(jnp.ones(1)))(policy)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slope))


def test_categorical_acts_with_its_probabilities() -> None:
    policy = CategoricalPolicy(NETWORK)
    actions = jax.vmap(lambda key: policy.act(STATES[0], key))(keys(0))
    expected = MANY * np.exp(np.asarray(policy.log_probabilities(STATES[0]), np.float64))
    counts = np.bincount(np.asarray(actions), minlength=3)
    assert stats.chisquare(counts, expected * MANY / expected.sum()).pvalue > 1e-3


def test_gaussian_density_entropy_and_samples() -> None:
    log_std = np.array([-1.0, 0.0, 0.5])
    policy = GaussianPolicy(NETWORK, jnp.asarray(log_std, jnp.float32))
    normal = stats.norm(OUTPUTS, np.exp(log_std))
    actions = np.random.default_rng(1).normal(size=(6, 3))
    log_p = policy.log_prob(STATES, jnp.asarray(actions, jnp.float32))
    np.testing.assert_allclose(log_p, normal.logpdf(actions).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(policy.entropy(STATES), normal.entropy().sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(policy.mode(STATES), OUTPUTS, atol=1e-5)
    samples = np.asarray(jax.vmap(lambda key: policy.act(STATES[0], key))(keys(2)))
    for i in range(3):
        assert stats.kstest(samples[:, i], stats.norm(OUTPUTS[0, i], np.exp(log_std[i])).cdf).pvalue > 1e-3


def test_warm_up_is_uniform_and_then_the_policy() -> None:
    sure = Mlp((jnp.zeros((2, 3)),), (jnp.asarray([50.0, 0.0, 0.0]),), "relu")
    act = jax.vmap(lambda policy, key: policy.act(STATES[0], key), in_axes=(None, 0))
    uniform = act(WarmUp(CategoricalPolicy(sure), jnp.asarray(True)), keys(3))
    assert stats.chisquare(np.bincount(np.asarray(uniform), minlength=3)).pvalue > 1e-3
    assert not act(WarmUp(CategoricalPolicy(sure), jnp.asarray(False)), keys(3)).any()
