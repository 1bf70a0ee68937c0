"""Policies against SciPy's distributions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from surefoot.networks.mlp import Mlp
from surefoot.networks.policies import (
    BoundedGaussianPolicy,
    CategoricalPolicy,
    GaussianPolicy,
    SquashedGaussianPolicy,
    WarmUp,
)

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


def test_bounded_gaussian_is_one_about_a_mean_within_the_bounds() -> None:
    log_std, low, high = np.array([-1.0, 0.0, 0.5]), (-1.0, 0.5, -3.0), (1.0, 2.5, -1.0)
    policy = BoundedGaussianPolicy(NETWORK, jnp.asarray(log_std, jnp.float32), low, high)
    mean = np.asarray(low) + (np.tanh(OUTPUTS) + 1) / 2 * (np.asarray(high) - low)
    normal = stats.norm(mean, np.exp(log_std))
    actions = np.random.default_rng(1).normal(size=(6, 3))
    log_p = policy.log_prob(STATES, jnp.asarray(actions, jnp.float32))
    np.testing.assert_allclose(log_p, normal.logpdf(actions).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(policy.entropy(STATES), normal.entropy().sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(policy.mode(STATES), mean, atol=1e-5)


def test_warm_up_is_uniform_and_then_the_policy() -> None:
    sure = Mlp((jnp.zeros((2, 3)),), (jnp.asarray([50.0, 0.0, 0.0]),), "relu")
    act = jax.vmap(lambda policy, key: policy.act(STATES[0], key), in_axes=(None, 0))
    uniform = act(WarmUp(CategoricalPolicy(sure), jnp.asarray(True)), keys(3))
    assert stats.chisquare(np.bincount(np.asarray(uniform), minlength=3)).pvalue > 1e-3
    assert not act(WarmUp(CategoricalPolicy(sure), jnp.asarray(False)), keys(3)).any()


# Squashed Gaussians ------------------------------------------------------------------------------------


LOW, HIGH = (-1.0, 0.5, -3.0), (1.0, 2.5, -1.0)
SQUASHED = SquashedGaussianPolicy(Mlp.create((2, 8, 6), jax.random.key(4)), LOW, HIGH)
RAW = np.asarray(SQUASHED.network(STATES), np.float64)
MEAN, STD = RAW[:, :3], np.exp(RAW[:, 3:])


def change_of_variables(action: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """log density of tanh(u), u normal, as the textbook has it."""
    return stats.norm(mean, std).logpdf(np.arctanh(action)) - np.log(1 - action**2)


def to_bounds(action: np.ndarray) -> np.ndarray:
    return np.asarray(LOW) + (np.asarray(HIGH) - LOW) * (action + 1) / 2


def test_squashed_gaussian_density_is_the_change_of_variables() -> None:
    action = np.random.default_rng(1).uniform(-0.99, 0.99, (6, 3))
    expected = change_of_variables(action, MEAN, STD).sum(axis=1)
    log_p = SQUASHED.log_prob(STATES, jnp.asarray(to_bounds(action), jnp.float32))
    np.testing.assert_allclose(log_p, expected, rtol=1e-3, atol=1e-3)
    sampled, log_p = SQUASHED.sample(STATES, jax.random.key(0))
    scaled = 2 * (np.asarray(sampled, np.float64) - LOW) / (np.asarray(HIGH) - LOW) - 1
    expected = change_of_variables(scaled, MEAN, STD).sum(axis=1)
    np.testing.assert_allclose(log_p, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(SQUASHED.log_prob(STATES, sampled), log_p, rtol=1e-3, atol=1e-3)


def test_squashed_gaussian_density_integrates_to_one() -> None:
    network = Mlp((jnp.zeros((1, 2)),), (jnp.asarray([0.7, -0.4]),), "relu")
    policy = SquashedGaussianPolicy(network, (-1.0,), (1.0,))
    grid = np.linspace(-1, 1, 20_001)
    density = np.exp(policy.log_prob(jnp.ones((20_001, 1)), jnp.asarray(grid[:, None], jnp.float32)))
    assert float(integrate.trapezoid(density, grid)) == pytest.approx(1.0, abs=1e-3)
    # And its entropy, by the same integral, is what samples estimate.
    entropy = -float(integrate.trapezoid(density * np.log(np.maximum(density, 1e-30)), grid))
    log_p = policy.sample(jnp.ones((MANY, 1)), jax.random.key(0))[1]
    assert -float(log_p.mean()) == pytest.approx(entropy, abs=5 * float(log_p.std()) / MANY**0.5)


def test_squashed_gaussian_stays_finite_far_out_and_on_the_bounds() -> None:
    network = Mlp((jnp.zeros((1, 6)),), (jnp.asarray([60.0, -60.0, 0.0, -50.0, 50.0, 0.0]),), "relu")
    policy = SquashedGaussianPolicy(network, LOW, HIGH)

    def both_ways(policy: SquashedGaussianPolicy) -> jax.Array:
        drawn = policy.sample(jnp.ones(1), jax.random.key(0))[1]
        return drawn + policy.log_prob(jnp.ones(1), jnp.asarray(LOW)) * 1e-30

    value, slope = jax.value_and_grad(both_ways)(policy)
    assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(slope))
    _, log_std = policy.gaussian(jnp.ones(1))
    np.testing.assert_array_equal(log_std, [-20, 2, 0])
    at, near = (
        SQUASHED.log_prob(
            STATES, jnp.broadcast_to(jnp.asarray(to_bounds(np.full(3, edge)), jnp.float32), (6, 3))
        )
        for edge in (1.0, 1.0 - 1e-6)
    )
    np.testing.assert_allclose(at, near, rtol=0.05)  # a bound counts as a point just inside
    inside = change_of_variables(np.full(3, 1 - 1e-6), MEAN, STD).sum(axis=1)
    np.testing.assert_allclose(at, inside, rtol=0.05)


def test_squashed_gaussian_samples_its_own_distribution() -> None:
    for act in (SQUASHED.act, lambda s, k: SQUASHED.sample(s, k)[0]):
        samples = np.asarray(jax.vmap(act, in_axes=(None, 0))(STATES[0], keys(2)), np.float64)
        scaled = 2 * (samples - LOW) / (np.asarray(HIGH) - LOW) - 1
        for i in range(3):
            u = np.arctanh(np.clip(scaled[:, i], -1 + 1e-12, 1 - 1e-12))
            assert stats.kstest(u, stats.norm(MEAN[0, i], STD[0, i]).cdf).pvalue > 1e-3
    np.testing.assert_allclose(SQUASHED.mode(STATES), to_bounds(np.tanh(MEAN)), rtol=1e-4, atol=1e-5)


def test_warm_up_of_continuous_actions_is_uniform_within_the_bounds() -> None:
    act = jax.vmap(lambda policy, key: policy.act(STATES[0], key), in_axes=(None, 0))
    samples = np.asarray(act(WarmUp(SQUASHED, jnp.asarray(True)), keys(3)))
    for i in range(3):
        assert stats.kstest(samples[:, i], stats.uniform(LOW[i], HIGH[i] - LOW[i]).cdf).pvalue > 1e-3
    after = act(WarmUp(SQUASHED, jnp.asarray(False)), keys(3))
    np.testing.assert_array_equal(after, jax.vmap(lambda key: SQUASHED.act(STATES[0], key))(keys(3)))
