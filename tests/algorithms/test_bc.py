"""Behavioural cloning against the frequencies that a table of demonstrations holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import side_by_side as both
from oracles import actor_critic as oracle
from surefoot.algorithms.imitation.bc import Bc, negative_log_likelihood
from surefoot.data.demonstrations import Demonstrations
from surefoot.data.pairs import Pairs
from surefoot.errors import SurefootError
from surefoot.task import Box, Task
from surefoot.worlds.jax_world import JaxWorld

STATES, ACTIONS = 4, 3


def table(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States and actions, some states far more frequent than others, and the counts ``[states, actions]``."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 12, (STATES, ACTIONS)) * np.array([[1], [2], [5], [1]])
    counts[1] = [0, 20, 0]  # one state with one action only
    state, action = np.indices(counts.shape)
    return np.repeat(state, counts.ravel()), np.repeat(action, counts.ravel()), counts


def world() -> JaxWorld:
    return JaxWorld.create(both.Bandit(), 1, jax.random.key(0))


def test_learns_the_empirical_conditional_frequencies() -> None:
    """To 0.03: what is left is the noise of batches."""
    states, actions, counts = table()
    settings = Bc(hidden=(16,), learning_rate=3e-3, batch_size=512, steps_per_iteration=500)
    demonstrations = both.demonstrations(both.one_hot(states, STATES), actions)
    state = settings.init(both.task(STATES, ACTIONS), jax.random.key(0), demonstrations=demonstrations)
    before = np.exp(settings.policy(state).log_probabilities(jnp.eye(STATES)))
    np.testing.assert_allclose(before, 1 / ACTIONS, atol=0.01)  # it starts indifferent
    place = world()
    for i in range(4):
        state, same, metrics = settings.iteration(state, place, jax.random.key(i))
    assert both.same_bits(same, place)  # it never acts
    shares = counts / counts.sum(axis=1, keepdims=True)
    learned = np.exp(settings.policy(state).log_probabilities(jnp.eye(STATES)))
    np.testing.assert_allclose(learned, shares, atol=0.03)
    # The likelihood's bound is the conditional entropy of the table.
    present = counts > 0
    entropy = -np.sum(counts[present] * np.log(shares[present])) / counts.sum()
    np.testing.assert_allclose(float(metrics["demo_nll"]), entropy, atol=0.03)
    whole = Pairs(state.demonstrations.observation, state.demonstrations.action)
    assert float(negative_log_likelihood(settings.policy(state), whole)) >= entropy - 1e-4


def test_likelihood_and_its_gradient() -> None:
    rng = np.random.default_rng(0)
    observation, action = rng.normal(size=(12, 2)), rng.integers(3, size=12)
    actor = both.random_policy(2, (4,), 3)
    batch = Pairs(jnp.asarray(observation, jnp.float32), jnp.asarray(action))

    def loss(layers: oracle.Layers) -> float:
        p = oracle.probabilities(layers, observation)
        return -float(np.log(p[np.arange(12), action]).mean())

    value, gradient = jax.jit(jax.value_and_grad(negative_log_likelihood))(actor, batch)
    layers = both.layers(actor.network)
    np.testing.assert_allclose(float(value), loss(layers), rtol=1e-5)
    for mine, theirs in zip(both.layers(gradient.network), oracle.slope(loss, layers), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_same_key_same_bits() -> None:
    states, actions, _ = table()
    settings = Bc(hidden=(4,), batch_size=32, steps_per_iteration=5)
    demonstrations = both.demonstrations(both.one_hot(states, STATES), actions)
    first = settings.init(both.task(STATES, ACTIONS), jax.random.key(0), demonstrations=demonstrations)
    place = world()
    a, b, c = (settings.iteration(first, place, jax.random.key(key))[0] for key in (1, 1, 2))
    assert both.same_bits(a, b) and not both.same_bits(a.actor, c.actor)


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": ()},
        {"learning_rate": 0.0},
        {"batch_size": 0},
        {"steps_per_iteration": 0},
        {"max_gradient_norm": 0.0},
    ],
)
def test_settings_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(SurefootError, match=f"^{next(iter(options))} ="):
        Bc(**options)


def test_what_it_cannot_learn_from() -> None:
    with pytest.raises(SurefootError, match="demonstrations"):
        Bc().init(both.task(2, 3), jax.random.key(0))
    states, actions, _ = table()
    shown = both.demonstrations(both.one_hot(states, STATES), actions)
    box = Box((STATES,), (0.0,) * STATES, (1.0,) * STATES)
    endless = Box((1,), (-np.inf,), (np.inf,))
    with pytest.raises(SurefootError, match="'Car-v0' has actions without bounds"):
        Bc().init(Task("Car-v0", box, endless), jax.random.key(0), demonstrations=shown)


# Continuous actions ------------------------------------------------------------------------------------


LOW, HIGH = np.array([-2.0, 0.0]), np.array([4.0, 1.0])
PLANE = Task("Plane-v0", Box((STATES,), (0.0,) * STATES, (1.0,) * STATES), Box((2,), tuple(LOW), tuple(HIGH)))


def real_demonstrations(states: np.ndarray, u: np.ndarray) -> Demonstrations:
    actions = LOW + (HIGH - LOW) * (np.tanh(u) + 1) / 2
    shown = both.demonstrations(both.one_hot(states, STATES), np.zeros(len(states)))
    return replace(shown, actions=actions.astype(np.float32))


def test_recovers_the_mean_and_spread_of_squashed_actions() -> None:
    """Maximum likelihood has a closed form here: mean and standard deviation of atanh(a) in each state."""
    rng, n = np.random.default_rng(0), 600
    states = np.repeat(np.arange(STATES), n)
    mean, std = rng.uniform(-1.2, 1.2, (STATES, 2)), rng.uniform(0.1, 0.8, (STATES, 2))
    u = mean[states] + std[states] * rng.normal(size=(STATES * n, 2))
    u[:3] = [[30.0, 0.0], [0.0, -30.0], [-30.0, 30.0]]  # on the bounds: as good as atanh(1 - 1e-6) = 7.25
    settings = Bc(hidden=(16,), learning_rate=1e-2, batch_size=1024, steps_per_iteration=600)
    state = settings.init(PLANE, jax.random.key(0), demonstrations=real_demonstrations(states, u))
    for i, rate in enumerate((1e-2, 1e-3)):
        state, _, metrics = replace(settings, learning_rate=rate).iteration(state, world(), jax.random.key(i))
    seen = np.clip(u, -np.arctanh(1 - 1e-6), np.arctanh(1 - 1e-6)).reshape(STATES, n, 2)
    best_mean, best_std = seen.mean(axis=1), seen.std(axis=1)
    learned_mean, learned_log_std = settings.policy(state).gaussian(jnp.eye(STATES))
    np.testing.assert_allclose(learned_mean, best_mean, atol=0.05)
    np.testing.assert_allclose(np.exp(learned_log_std), best_std, rtol=0.08)
    # The states without such actions have the parameters that they were drawn with, to chance.
    np.testing.assert_allclose(learned_mean[1:], mean[1:], atol=0.15)
    np.testing.assert_allclose(np.exp(learned_log_std[1:]), std[1:], rtol=0.2)
    # And the likelihood is the best there is: entropy of the Gaussians less the mean log slope of tanh.
    expected = np.mean(0.5 + np.log(best_std) + 0.5 * np.log(2 * np.pi), axis=0).sum()
    log_slope = 2 * (np.log(2) - seen - np.logaddexp(0, -2 * seen))
    assert float(metrics["demo_nll"]) == pytest.approx(expected + log_slope.mean(axis=(0, 1)).sum(), abs=0.1)


def test_demonstrated_bounds_are_neither_infinite_nor_missed() -> None:
    """All actions on a bound: the policy goes there, and every number stays finite."""
    shown = real_demonstrations(np.zeros(64, int), np.tile([40.0, -40.0], (64, 1)))
    settings = Bc(hidden=(8,), learning_rate=1e-2, batch_size=32, steps_per_iteration=400)
    state = settings.init(PLANE, jax.random.key(0), demonstrations=shown)
    state, _, metrics = settings.iteration(state, world(), jax.random.key(1))
    assert np.isfinite(float(metrics["demo_nll"]))
    np.testing.assert_allclose(state.actor.mode(jnp.eye(STATES)[0]), [4.0, 0.0], atol=0.01)
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(state))
