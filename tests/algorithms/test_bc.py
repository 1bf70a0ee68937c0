"""Behavioural cloning against the frequencies that a table of demonstrations holds."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import side_by_side as both
from oracles import actor_critic as oracle
from surefoot.algorithms.imitation.bc import Bc, negative_log_likelihood
from surefoot.algorithms.imitation.scopil import Pairs
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
    with pytest.raises(SurefootError, match="continuous"):
        Bc().init(Task("Car-v0", box, box), jax.random.key(0), demonstrations=shown)
