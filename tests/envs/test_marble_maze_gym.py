"""The maze as a Gymnasium environment: the checker's rules, and equality with the JAX form."""

from __future__ import annotations

import builtins
import warnings
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import surefoot.envs
from surefoot.envs import marble_maze_board as geometry
from surefoot.envs.marble_maze import MarbleMaze
from surefoot.envs.marble_maze_gym import MarbleMazeGym
from surefoot.errors import SurefootError


@pytest.mark.parametrize(
    "options", [{}, {"constraints": ()}, {"board": "island", "render_mode": "rgb_array"}]
)
def test_gymnasiums_checker_has_no_complaint(options: dict[str, Any]) -> None:
    env = gymnasium.make("surefoot/MarbleMaze-v0", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()
    env.close()


def test_registering_twice_changes_nothing() -> None:
    before = gymnasium.registry["surefoot/MarbleMaze-v0"]
    surefoot.envs.register_envs()
    assert gymnasium.registry["surefoot/MarbleMaze-v0"] is before


@pytest.mark.parametrize("board", ["gap", "island"])
def test_equals_the_jax_form_step_for_step(board: str) -> None:
    names = ("zone", "speed", "tilt", "contact")
    limits = {"speed_limit": 1.0, "tilt_limit": 0.2, "contact_limit": 0.3}
    env = MarbleMazeGym(board=board, constraints=names, starts="test", **limits)
    observation, info = env.reset(seed=4)
    np.testing.assert_array_equal(info["cost"], np.zeros(4, np.float32))
    maze = MarbleMaze(board=board, constraints=names, **limits)
    step, observe = jax.jit(maze.step), jax.jit(maze.observe)
    start = (observation[:2].astype(float) + 1) * 240
    drawn = geometry.starts("test")
    state = maze.reset_at(jnp.asarray(drawn[np.hypot(*(drawn - start).T).argmin()]))
    np.testing.assert_array_equal(observation, observe(state))
    rng = np.random.default_rng(0)
    action, costs, truncated = 4, np.zeros(4), False
    for number in range(200):  # noqa: B007
        assert not truncated
        action = int(rng.integers(9)) if rng.random() < 0.15 else action
        observation, reward, terminated, truncated, info = env.step(action)
        state, result = step(state, jnp.asarray(action))
        np.testing.assert_array_equal(observation, observe(state))
        np.testing.assert_array_equal(info["cost"], result.cost)
        assert reward == float(result.reward)
        assert (terminated, truncated) == (bool(result.terminated), bool(result.truncated))
        assert info["success"] == bool(result.success)
        assert info["constraints"] == names
        assert env.observation_space.contains(observation)
        costs += info["cost"]
        if terminated:
            break
    assert truncated or terminated
    assert truncated == (number == 199 and not terminated)
    assert costs[1:].min() > 0  # speed, tilt and contact were all seen


def test_the_seed_fixes_the_start() -> None:
    env, other = MarbleMazeGym(), MarbleMazeGym()
    firsts = [env.reset(seed=seed)[0] for seed in range(5)]
    np.testing.assert_array_equal(firsts, [other.reset(seed=seed)[0] for seed in range(5)])
    assert len({tuple(first) for first in firsts}) > 1
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])  # and what follows
    known = {tuple(point) for point in geometry.starts("train").round(3)}
    assert tuple(((firsts[0][:2].astype(float) + 1) * 240).round(3)) in known or any(
        np.allclose((firsts[0][:2] + 1) * 240, point, atol=1e-3) for point in known
    )


def test_a_start_can_be_given() -> None:
    observation, _ = MarbleMazeGym().reset(options={"start": (432.0, 144.0)})
    np.testing.assert_allclose(observation, [0.8, -0.4, 0, 0, 0, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("start", [(240.0,), (432.0, float("nan")), (36.0, 200.0), (320.0, 160.0), "goal"])
def test_impossible_starts_are_refused(start: Any) -> None:
    with pytest.raises(SurefootError, match="start"):
        MarbleMazeGym().reset(options={"start": start})


def test_wrong_use_is_refused_clearly() -> None:
    env = MarbleMazeGym()
    with pytest.raises(SurefootError, match="reset"):
        env.step(4)
    env.reset(seed=0)
    with pytest.raises(SurefootError, match="0 to 8"):
        env.step(9)
    with pytest.raises(SurefootError, match="Did you mean 'starts'"):
        MarbleMazeGym(start="test")
    with pytest.raises(SurefootError, match="Did you mean 'rgb_array'"):
        MarbleMazeGym(render_mode="rgb")


def test_pictures_show_the_state() -> None:
    env = MarbleMazeGym(render_mode="rgb_array", constraints=("tilt",), tilt_limit=0.2)
    env.reset(seed=1)
    first = env.render()
    assert first is not None
    assert first.shape == (480, 480, 3)
    for _ in range(3):
        *_, info = env.step(8)
    assert info["cost"][0] == 1
    later = env.render()
    assert later is not None
    assert later[0, 0, 0] > later[0, 0, 1] + 80  # the red border
    assert np.abs(first.astype(int) - later).max() > 100


def test_a_window_without_pygame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pygame":
            raise ModuleNotFoundError("No module named 'pygame'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match=r'pip install "surefoot\[play\]"'):
        MarbleMazeGym(render_mode="human")


def test_a_window_shows_each_decision() -> None:
    pytest.importorskip("pygame")
    env = MarbleMazeGym(render_mode="human")
    env.reset(seed=0)
    env.step(4)
    assert env.render() is None
    env.close()
    env.close()


def test_keys_roll_the_ball_their_way() -> None:
    for keys, action in MarbleMazeGym().get_keys_to_action().items():
        env = MarbleMazeGym()
        env.reset(options={"start": (400.0, 300.0)})
        observation, *_ = env.step(action)
        velocity = observation[2:4]
        expected = [("d" in keys) - 1.0 * ("a" in keys), ("s" in keys) - 1.0 * ("w" in keys)]
        np.testing.assert_array_equal(np.sign(velocity), expected)
