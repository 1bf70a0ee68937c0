from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import surefoot as sf
from oracles import marginals as oracle
from probe.playing import collect
from surefoot.algorithms.imitation.matching import visited
from surefoot.algorithms.imitation.maxent_irl import MaxEntIrl, likelihood_gradient
from surefoot.data.demonstrations import Demonstrations
from surefoot.errors import SurefootError
from surefoot.training.run import learner_from, options_of
from surefoot.worlds.world import Episodes


class Table(eqx.Module):
    """A reward with one parameter a state; observations are one-hot."""

    values: Array

    def __call__(self, observation):
        return observation @ self.values


def test_worked_checks():
    # By hand from the two means.
    rewards = jnp.array([1.0, 2.0, 3.0, -1.0])
    states = jnp.eye(4).reshape(2, 2, 4)
    weight = jnp.exp(jnp.array([[0.5, -1.0], [2.0, 0.0]]))
    loss, _ = likelihood_gradient(Table(rewards), states, states, weight)
    np.testing.assert_allclose(loss, -5.272288, rtol=1e-5)
    expert = jnp.eye(7)[None, 4:]
    loss, _ = likelihood_gradient(
        Table(jnp.concatenate([rewards, jnp.array([2.0, 4.0, 1.0])])), jnp.eye(7)[:4].reshape(2, 2, 7), expert
    )
    np.testing.assert_allclose(loss, -2.166667, rtol=1e-5)


def test_gradient_equals_finite_differences_of_the_likelihood():
    # KL between distributions of trajectories: of the expert's and of the soft-optimal policy's.
    problem, rng = oracle.random_problem(3), np.random.default_rng(3)
    reward, true = rng.normal(size=(2, problem.states))
    paths, p_expert = oracle.trajectories(problem, true)

    def kl(reward):
        p = oracle.trajectories(problem, reward)[1]
        return float(np.sum(p_expert * np.log(p_expert / p)))

    # The lists of trajectories are exact; as many copies of each as its probability wants.
    _, p = oracle.trajectories(problem, reward)
    eye = np.eye(problem.states, dtype=np.float32)
    n = 20_000

    def copies(p):
        return jnp.asarray(eye[np.repeat(paths, np.round(n * p).astype(int), axis=0)])

    _, gradient = likelihood_gradient(Table(jnp.asarray(reward, jnp.float32)), copies(p), copies(p_expert))
    expected = oracle.finite_differences(kl, reward)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(np.asarray(gradient.values) / problem.alpha, expected, atol=0.02)


def test_a_density_raises_the_reward_where_it_is():
    steps = {"reward_updates": 100, "reward_learning_rate": 3e-3}
    learner = MaxEntIrl(density="point-mass/gaussian", hidden=(16, 16), expert_samples=300, **steps)
    assert learner_from("maxent-irl", options_of(learner)) == learner
    world = sf.make("PointMass-v0", envs=4)
    state = learner.init(world.task, jax.random.key(0))
    _, batch = collect(world, learner.policy(state), Episodes(100), jax.random.key(1))
    hill, corner = jnp.array([2.0, 2.0]), jnp.array([0.0, 0.0])
    before = state.reward(hill) - state.reward(corner)
    given_away = jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, (state, batch))
    state, metrics = learner.update_reward(*given_away)
    reward = learner.reward(state)
    assert reward(hill) - reward(corner) > before + 0.5
    assert np.isfinite(metrics["forward_kl"])
    assert 0 < metrics["weight"] < 1.5  # the mean of ratios is at most one, but for the estimate


def test_the_experts_states_earn_more_than_the_agents():
    # Many steps of the reward on one set of trajectories, before the policy can follow.
    steps = {"reward_updates": 100, "reward_learning_rate": 3e-3}
    learner = MaxEntIrl(hidden=(16, 16), replay_capacity=12_000, **steps)
    world = sf.make("PointMass-v0", envs=4)
    state = learner.init(world.task, jax.random.key(0), demonstrations=walks())
    _, batch = collect(world, learner.policy(state), Episodes(100), jax.random.key(1))
    agent, expert = visited(batch), state.expert.trajectories

    def margin(state):
        return jnp.mean(state.reward(expert)) - jnp.mean(state.reward(agent))

    before = margin(state)
    given_away = jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, (state, batch))
    state, metrics = learner.update_reward(*given_away)
    assert margin(state) > before + 0.5
    # The first loss is that of the reward as it was: T times the mean reward of the agent above the expert's.
    np.testing.assert_allclose(metrics["reward_loss"], -29 * before, rtol=1e-3, atol=1e-4)


def walks(episodes=3, length=29):
    """The same straight walk from the corner, several times."""
    states = np.array([0.12, 0.06], np.float32) * np.arange(length + 1, dtype=np.float32)[:, None]
    ends = np.tile(np.arange(length) == length - 1, episodes)
    return Demonstrations(
        observations=np.concatenate([states[:-1]] * episodes),
        actions=np.zeros((ends.size, 2)),
        rewards=np.zeros(ends.size),
        costs=np.zeros((ends.size, 0)),
        terminations=np.zeros(ends.size, bool),
        truncations=ends,
        lengths=np.full(episodes, length),
        final_observations=np.stack([states[-1]] * episodes),
    )


def test_an_iteration_gives_back_what_the_next_one_takes():
    # Traced, not compiled: it is the policy's training, which SAC's tests run, and the step tested above.
    learner = MaxEntIrl(density="point-mass/gaussian", hidden=(16, 16), expert_samples=300, trajectories=20)
    world = sf.make("PointMass-v0")
    state = learner.init(world.task, jax.random.key(0))
    after, _, metrics = eqx.filter_eval_shape(learner.iteration, state, world, jax.random.key(1))
    assert eqx.tree_equal(after, eqx.filter_eval_shape(lambda: state))
    assert {"return", "episodes", "reward", "forward_kl", "weight", "reward_loss"} <= set(metrics)


def test_clear_errors():
    with pytest.raises(SurefootError, match="importance weights need"):
        MaxEntIrl(density='{"sum": {"parts": [{"gaussian": {"mean": [0, 0], "std": 1}}]}}')
    with pytest.raises(SurefootError, match="neither is given"):
        MaxEntIrl().init(sf.make("PointMass-v0", envs=1).task, jax.random.key(0))
