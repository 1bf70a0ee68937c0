"""The noisy walk: against a simulation in NumPy, and against expectations computed elsewhere."""

from __future__ import annotations

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from surefoot.envs.noisy_walk import NoisyWalk, State, WalkBack
from surefoot.errors import SurefootError
from surefoot.worlds import describe, from_description
from surefoot.worlds.world import Episodes


class Still:
    def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.zeros(2)


class Back:
    """a = -clip(p)."""

    def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return -observation


class Out:
    """Outward along the diagonal that points away from the origin."""

    def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.where(observation >= 0, 1.0, -1.0)


def simulated(walk: str, episodes: int) -> float:
    """Mean cost of an episode, in a few lines of NumPy."""
    rng = np.random.default_rng(0)
    place, total = np.zeros((episodes, 2)), np.zeros(episodes)
    for _ in range(10):
        move = {"still": 0 * place, "back": -place, "out": np.where(place >= 0, 1, -1)}[walk]
        place = place + np.clip(move, -0.2, 0.2) + rng.normal(0, 0.1, place.shape)
        total += np.hypot(*place.T)
    return float(total.mean())


@pytest.mark.parametrize(
    "policy, known", [(Still(), 2.81), (Back(), 1.26), (Out(), 15.7)], ids=["still", "back", "out"]
)
def test_costs_of_known_walks(policy: object, known: float) -> None:
    world = sf.make("NoisyWalk-v0", envs=2)
    _, batch = world.collect(policy, Episodes(4000), jax.random.key(0))
    cost = float(batch.cost.sum(0).mean())
    np.testing.assert_allclose(cost, simulated(type(policy).__name__.lower(), 20_000), rtol=0.03)
    np.testing.assert_allclose(cost, known, rtol=0.03)
    np.testing.assert_array_equal(batch.reward, batch.cost[..., 0])


def test_the_controller_walks_straight_back() -> None:
    place = np.array([[0.5, -0.1], [-3.0, 0.2]])
    moved = WalkBack().act(jnp.array(place), jax.random.key(0))
    np.testing.assert_allclose(moved, [[-0.2, 0.1], [0.2, -0.2]], rtol=1e-6)


def test_a_step_is_the_clipped_action_and_fresh_noise() -> None:
    quiet = NoisyWalk(noise=0.0)
    state, result = quiet.step(quiet.reset(jax.random.key(0)), jnp.array([0.15, -3.0]))
    np.testing.assert_allclose(state.position, [0.15, -0.2], rtol=1e-6)
    np.testing.assert_allclose(result.reward, np.hypot(0.15, 0.2), rtol=1e-6)
    env = NoisyWalk()
    start = State(jnp.array([1.0, 2.0]), jnp.asarray(9), jax.random.key(1))
    one, result = env.step(start, jnp.zeros(2))
    two, _ = env.step(one, jnp.zeros(2))
    assert bool(result.truncated) and not bool(result.terminated)
    steps = np.array([one.position - start.position, two.position - one.position])
    assert np.abs(steps[0] - steps[1]).min() > 1e-4  # not the same noise twice


def test_gymnasium_plays_the_same_walk() -> None:
    env = gymnasium.make("surefoot/NoisyWalk-v0", noise=0.0, render_mode="rgb_array")
    observation, info = env.reset(seed=0)
    np.testing.assert_array_equal(observation, [0, 0])
    observation, reward, terminated, truncated, info = env.step(np.array([0.2, 0.1], np.float32))
    np.testing.assert_allclose(observation, [0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(info["cost"], [reward])
    assert info["constraints"] == ("distance",) and not terminated and not truncated
    assert env.render().shape == (480, 480, 3)
    env.close()


def test_settings_are_checked_and_remembered() -> None:
    world = sf.make("NoisyWalk-v0", envs=2, noise=0.05, limit=1.5)
    assert world.task.limits == (1.5,)
    assert from_description(describe(world)).task == world.task
    with pytest.raises(SurefootError, match="noise"):
        NoisyWalk(noise=-0.1)
