"""What CPO and PPO-Lagrangian hand to the estimators: each signal its own values, discount and trace."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from oracles.returns import advantage_by_sums
from surefoot.algorithms.safe import cpo, ppo_lagrangian
from surefoot.data.trajectories import Totals, Trajectories
from surefoot.task import Box, Discrete, Task

TASK = Task("Two harms", Box((2,), (-1.0,) * 2, (1.0,) * 2), Discrete(3), ("heat", "noise"), (1.0, 2.0), 8)
SETTINGS = {"discount": 0.9, "trace": 0.8, "cost_discount": 0.6, "cost_trace": 0.3}


def batch(steps=8, envs=3):
    """Random steps with ends of every kind."""
    rng = np.random.default_rng(0)
    seen = rng.uniform(-1, 1, (steps + 1, envs, 2))
    ends = rng.choice(3, size=(steps, envs), p=[0.6, 0.2, 0.2])
    none = jnp.zeros((steps, envs), jnp.int32)
    nothing = Totals(
        jnp.zeros((steps, envs)), none, jnp.zeros((steps, envs, 2)), jnp.stack([none] * 2, -1), none
    )
    after = np.where((ends == 0)[..., None], seen[1:], rng.uniform(-1, 1, (steps, envs, 2)))
    return Trajectories(
        observation=jnp.asarray(seen[:-1], jnp.float32),
        action=jnp.asarray(rng.integers(3, size=(steps, envs))),
        reward=jnp.asarray(rng.normal(size=(steps, envs)), jnp.float32),
        cost=jnp.asarray(rng.uniform(0, 1, (steps, envs, 2)), jnp.float32),
        next_observation=jnp.asarray(after, jnp.float32),
        terminated=jnp.asarray(ends == 1),
        truncated=jnp.asarray(ends == 2),
        success=jnp.zeros((steps, envs), bool),
        valid=jnp.ones((steps, envs), bool),
        totals=nothing,
    )


def by_sums(batch, signal, value, next_value, discount, trace):
    columns = [np.asarray(x) for x in (signal, value, next_value, batch.terminated, batch.truncated)]
    envs = columns[0].shape[1]
    return np.stack(
        [advantage_by_sums(*(x[:, i] for x in columns), discount, trace) for i in range(envs)], axis=1
    )


def test_ppo_lagrangians():
    learner, steps = ppo_lagrangian.PpoLagrangian(**SETTINGS, hidden=(4,)), batch()
    networks = learner.init(TASK, jax.random.key(0)).networks
    found = ppo_lagrangian.advantages(learner, networks, steps, steps.cost)
    value, after = (networks.value(x)[..., 0] for x in (steps.observation, steps.next_observation))
    wanted = by_sums(steps, steps.reward, value, after, 0.9, 0.8)
    np.testing.assert_allclose(found.advantage, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.target, wanted + value, rtol=1e-4, atol=1e-5)
    value, after = (networks.cost_value(x) for x in (steps.observation, steps.next_observation))
    for i in range(2):
        wanted = by_sums(steps, steps.cost[..., i], value[..., i], after[..., i], 0.6, 0.3)
        np.testing.assert_allclose(found.cost_advantage[..., i], wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.cost_target[..., i], wanted + value[..., i], rtol=1e-4, atol=1e-5)


def test_cpos():
    learner, steps = cpo.Cpo(**SETTINGS, hidden=(4,), value_hidden=(4,)), batch()
    values = learner.init(TASK, jax.random.key(0)).values
    weight = jnp.full(24, 1 / 24)
    reward, costs = cpo.advantages(learner, values, steps, weight)
    value, after = (values.reward(x)[..., 0] for x in (steps.observation, steps.next_observation))
    wanted = by_sums(steps, steps.reward, value, after, 0.9, 0.8).ravel()
    np.testing.assert_allclose(reward, (wanted - wanted.mean()) / wanted.std(), rtol=1e-4, atol=1e-5)
    value, after = (values.costs(x) for x in (steps.observation, steps.next_observation))
    for i in range(2):
        wanted = by_sums(steps, steps.cost[..., i], value[..., i], after[..., i], 0.6, 0.3).ravel()
        np.testing.assert_allclose(costs[:, i], wanted - wanted.mean(), rtol=1e-4, atol=1e-5)


def test_cpos_values_are_fitted_to_the_returns_of_their_signal():
    """Linear values and many steps: the least squares solution of sums that are written out."""
    learner = cpo.Cpo(**SETTINGS, value_hidden=(), value_steps=4_000, value_learning_rate=3e-2)
    steps = batch()
    whole = steps.terminated.at[-1].set(True)  # no episode is cut, so that targets are plain returns
    steps = dataclasses.replace(steps, terminated=whole, truncated=jnp.zeros_like(whole))
    state = learner.init(TASK, jax.random.key(0))
    values, _, _ = cpo.fit(learner, state, steps, jnp.full(24, 1 / 24))
    seen = steps.observation.reshape(-1, 2)
    design = np.concatenate([seen, np.ones((24, 1))], axis=1)
    found = np.concatenate([values.reward(seen), values.costs(seen)], axis=1)
    zero = jnp.zeros_like(steps.reward)
    signals = [(steps.reward, 0.9), (steps.cost[..., 0], 0.6), (steps.cost[..., 1], 0.6)]
    for column, (signal, discount) in zip(found.T, signals, strict=True):
        target = by_sums(steps, signal, zero, zero, discount, 1.0).ravel()
        wanted = design @ np.linalg.lstsq(design, target, rcond=None)[0]
        np.testing.assert_allclose(column, wanted, atol=0.02)
