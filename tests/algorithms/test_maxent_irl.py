from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import surefoot as sf
from oracles import marginals as oracle
from surefoot.algorithms.imitation.maxent_irl import MaxEntIrl, likelihood_gradient
from surefoot.errors import SurefootError
from surefoot.training.run import learner_from, options_of


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


def test_runs_on_a_density_and_keeps_its_reward(tmp_path):
    learner = MaxEntIrl(
        density="point-mass/gaussian",
        hidden=(32, 32),
        batch_size=64,
        steps_per_iteration=160,
        trajectories=50,
        expert_samples=500,
    )
    assert learner_from("maxent-irl", options_of(learner)) == learner
    run = sf.fit(
        learner, sf.make("PointMass-v0"), steps=3 * 160, run=tmp_path / "run", log_every=160, progress=False
    )
    assert np.all(np.isfinite(run.metrics()["forward_kl"]))
    assert np.all(run.metrics()["weight"] < 1.5)  # the mean of ratios is at most one, but for the estimate
    assert (run.path / "reward" / "reward.json").exists()


def test_clear_errors():
    with pytest.raises(SurefootError, match="importance weights need"):
        MaxEntIrl(density='{"sum": {"parts": [{"gaussian": {"mean": [0, 0], "std": 1}}]}}')
    with pytest.raises(SurefootError, match="neither is given"):
        MaxEntIrl().init(sf.make("PointMass-v0", envs=1).task, jax.random.key(0))
