"""The maze with real actions: against the slow integrator, the maze with nine, and Gymnasium's checker."""

from __future__ import annotations

import warnings
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import surefoot as sf
from oracles import marble_maze as oracle
from surefoot.envs.jax_gym import MarbleMazeTiltGym
from surefoot.envs.marble_maze import HORIZON, MarbleMaze
from surefoot.envs.marble_maze_tilt import MarbleMazeTilt
from surefoot.errors import SurefootError
from surefoot.task import Box
from surefoot.worlds import describe, from_description

ALL: dict[str, Any] = {
    "constraints": ("zone", "speed", "tilt", "contact"),
    "speed_limit": 1.0,
    "tilt_limit": 0.2,
    "contact_limit": 0.3,
}


@pytest.mark.parametrize("reward", ["timeout", "distance"])
def test_with_the_nine_actions_both_mazes_agree_to_the_bit(reward: str) -> None:
    nine, tilt = MarbleMaze(reward=reward, **ALL), MarbleMazeTilt(reward=reward, **ALL)
    rng = np.random.default_rng(0)
    held = np.repeat(rng.integers(0, 9, (30, 64)), 7, axis=0)[:HORIZON]
    starts = jax.vmap(nine.reset)(jax.random.split(jax.random.key(1), 64))

    def play(maze: Any, actions: Any) -> Any:
        def step(states: Any, action: Any) -> Any:
            states, result = jax.vmap(maze.step)(states, action)
            return states, (jax.vmap(maze.observe)(states), result)

        return jax.jit(lambda: jax.lax.scan(step, starts, jnp.asarray(actions))[1])()

    expected, found = (
        play(nine, held),
        play(tilt, np.stack([held // 3 - 1, held % 3 - 1], -1).astype(np.float32)),
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    result = expected[1]
    assert (np.asarray(result.cost).sum((0, 1)) > 0).all() and np.asarray(result.truncated).any()


def test_rates_between_agree_with_frames_counted_by_hand() -> None:
    """Free of contacts: tilt, then velocity, then position, frame by frame; rates beyond 1 count as 1."""
    maze, step = MarbleMazeTilt(), jax.jit(MarbleMazeTilt().step)
    rng = np.random.default_rng(2)
    for given in [*rng.uniform(-1, 1, (20, 2)), np.array([3.0, -7.0])]:
        rate = np.clip(given, -1, 1)
        state = maze.reset_at(jnp.array([380.0, 330.0]))
        place, speed, tilt = np.array([380.0, 330.0]), np.zeros(2), np.zeros(2)
        for _ in range(2):
            state, _ = step(state, jnp.asarray(given, jnp.float32))
            for _ in range(12):
                tilt += 0.01 * rate
                speed += 0.05 * np.array([-tilt[1], tilt[0]])
                place += speed
        np.testing.assert_allclose(state.position, place, rtol=1e-5)
        np.testing.assert_allclose(state.velocity, speed, atol=1e-5)
        np.testing.assert_allclose(maze.observe(state)[4:], [*(tilt / 0.5), *rate], atol=1e-5)


def test_a_half_rate_costs_what_the_slow_integrator_says() -> None:
    """Two decisions at rate 1/2 end with the tilt of one at rate 1; the first is within a limit of 0.2."""
    maze = MarbleMazeTilt(constraints=("tilt", "speed"), tilt_limit=0.1, speed_limit=0.2)
    ball = oracle.Ball(400.0, 300.0, 0.0, 0.0, 0.0, 0.0)
    seen = [oracle.decide(ball, 1, 0), oracle.decide(ball, 0, 0)]
    fast, slow = maze.reset_at(jnp.array([400.0, 300.0])), maze.reset_at(jnp.array([400.0, 300.0]))
    for number, rate in enumerate((1.0, 0.0)):
        fast, result = maze.step(fast, jnp.array([rate, 0.0]))
        worst = [max(seen[number].tilts) > 0.105, max(seen[number].speeds) > 0.2]
        np.testing.assert_array_equal(result.cost, worst)
        slow, result = maze.step(slow, jnp.array([0.5, 0.0]))
        assert float(result.cost[0]) == (number == 1)
    np.testing.assert_allclose(fast.tilt, slow.tilt, rtol=1e-5)


def test_task_and_description() -> None:
    world = sf.make("MarbleMazeTilt-v0", envs=2, board="island", starts="test")
    task = world.task
    assert task.name == "MarbleMazeTilt-v0" and task.constraints == ("zone",) and task.limits == (0.0,)
    assert task.action == Box((2,), (-1.0, -1.0), (1.0, 1.0)) and task.horizon == HORIZON
    assert task.reports_success and task.observation == MarbleMaze().task.observation
    assert describe(world)["id"] == "MarbleMazeTilt-v0"
    again = from_description(describe(world), starts="train")
    assert again.env == MarbleMazeTilt(board="island", starts="train")  # type: ignore[union-attr]
    with pytest.raises(SurefootError, match="Did you mean 'gap'"):
        sf.make("MarbleMazeTilt-v0", board="gapp")


def test_the_goal_ends_an_episode_and_counts_as_success() -> None:
    maze = MarbleMazeTilt()
    near = eqx.tree_at(lambda s: s.time, maze.reset_at(jnp.array([80.0, 90.0])), jnp.int32(HORIZON - 1))
    _, result = maze.step(near, jnp.zeros(2))
    assert bool(result.terminated) and bool(result.success) and not bool(result.truncated)


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_gymnasiums_checker_has_no_complaint(render_mode: str | None) -> None:
    env = gymnasium.make("surefoot/MarbleMazeTilt-v0", render_mode=render_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()


def test_gymnasium_plays_the_same_maze_and_shows_it() -> None:
    env = MarbleMazeTiltGym(render_mode="rgb_array", starts="corners/right", **ALL)
    observation, info = env.reset(seed=0)
    first = env.render()
    maze = MarbleMazeTilt(starts="corners/right", **ALL)
    step, state = jax.jit(maze.step), maze.reset(jax.random.key(0))  # there is one start
    np.testing.assert_array_equal(observation, maze.observe(state))
    assert info["constraints"] == ALL["constraints"] and info["cost"].shape == (4,)
    rng = np.random.default_rng(1)
    for _ in range(15):
        action = rng.uniform(0, 1, 2).astype(np.float32)
        observation, reward, *_, info = env.step(action)
        state, result = step(state, action)
        np.testing.assert_allclose(observation, maze.observe(state), atol=1e-6)
        np.testing.assert_array_equal(info["cost"], result.cost)
        assert reward == float(result.reward) and info["success"] == bool(result.success)
    assert info["cost"].any()
    later = env.render()
    assert first is not None and later is not None and first.shape == later.shape == (480, 480, 3)
    assert np.abs(first.astype(int) - later).max() > 100
