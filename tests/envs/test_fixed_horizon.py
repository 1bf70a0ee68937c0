"""Absorbing ends: against Gymnasium's own environments, step for step."""

from __future__ import annotations

import os
import warnings
from ctypes.util import find_library
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import surefoot as sf
from surefoot.envs import TIME_LIMITS
from surefoot.errors import SurefootError
from surefoot.worlds import describe, from_description
from surefoot.worlds.world import Episodes

pytest.importorskip("mujoco")
os.environ.setdefault("MUJOCO_GL", "egl")

# name -> what it is in Gymnasium, and the published sizes of observation and action
TASKS: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "FixedHopper-v0": ("Hopper-v5", {}, 11, 3),
    "FixedWalker2d-v0": ("Walker2d-v5", {"xml_file": "walker2d.xml"}, 17, 6),
    "FixedHalfCheetah-v0": ("HalfCheetah-v5", {}, 17, 6),
    "FixedAnt-v0": (
        "Ant-v5",
        {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0},
        27,
        8,
    ),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Gymnasium's own HalfCheetah makes MuJoCo write a file


@pytest.mark.parametrize("name", TASKS)
def test_plays_as_gymnasiums_own_until_the_fall_and_then_stays(name: str) -> None:
    base, options, observations, actions = TASKS[name]
    theirs = gymnasium.make(base, disable_env_checker=True, **options)
    plain, absorbing = (
        gymnasium.make(f"surefoot/{name}", absorbing=flag, max_episode_steps=300) for flag in (False, True)
    )
    assert plain.observation_space.shape == (observations,) and plain.action_space.shape == (actions,)
    seen = [env.reset(seed=5)[0] for env in (theirs, plain, absorbing)]
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    rng = np.random.default_rng(0)
    fallen = 0
    for number in range(1, 301):
        action = rng.uniform(-1, 1, actions).astype(np.float32)
        if not fallen:
            after, reward, terminated, _, _ = theirs.step(action)
            ours = plain.step(action)
            np.testing.assert_array_equal(ours[0], after)
            assert ours[1] == reward and ours[2] == terminated and ours[3] == (number == 300)
        stayed = absorbing.step(action)
        np.testing.assert_array_equal(stayed[0], after)
        assert not stayed[2] and stayed[3] == (number == 300)
        if fallen:
            assert stayed[1] == 0 and stayed[4]["absorbed"]
        else:
            assert stayed[1] == reward and not stayed[4]["absorbed"]
        fallen = fallen or (number if terminated else 0)
    assert (fallen == 0) == (name == "FixedHalfCheetah-v0") or name == "FixedAnt-v0"
    again, info = absorbing.reset(seed=5)
    np.testing.assert_array_equal(again, seen[0])
    assert not info["absorbed"]


def test_bodies_are_those_of_version_two() -> None:
    walker = gymnasium.make("surefoot/FixedWalker2d-v0").unwrapped.simulator.model
    friction = {walker.geom(i).name: walker.geom(i).friction[0] for i in range(walker.ngeom)}
    assert (friction["foot_geom"], friction["foot_left_geom"]) == (0.9, 1.9)
    ant = gymnasium.make("surefoot/FixedAnt-v0").unwrapped.simulator.model
    assert ant.body_mass.sum() == pytest.approx(0.9109, abs=1e-4)
    assert all(limit in (500, 1000) for limit in TIME_LIMITS.values())


def test_the_fall_of_a_hopper_is_where_it_is_said_to_be() -> None:
    env = gymnasium.make("surefoot/FixedHopper-v0")
    env.reset(seed=0)
    for _ in range(200):
        observation, _, terminated, *_ = env.step(np.zeros(3))
        assert terminated == (observation[0] <= 0.7 or abs(observation[1]) >= 0.2)
        if terminated:
            break
    assert terminated


def test_a_world_collects_whole_episodes_either_way() -> None:
    class Still:
        def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
            return jnp.zeros(3)

    training = sf.make("FixedHopper-v0", envs=2, horizon=150)
    recording = from_description(describe(training), absorbing=True)
    assert training.task.name == "FixedHopper-v0" and training.task.constraints == ()
    assert sf.make("FixedHopper-v0", envs=1).task.horizon == 1000
    _, ends = training.collect(Still(), Episodes(2), jax.random.key(0))
    _, stays = recording.collect(Still(), Episodes(2), jax.random.key(0))
    assert np.asarray(ends.terminated & ends.valid).sum() == 2
    assert not np.asarray(stays.terminated).any() and np.asarray(stays.valid).all()
    for episode in range(2):
        length = int(np.asarray(ends.valid)[:, episode].sum())
        assert 10 < length < 150
        np.testing.assert_array_equal(
            stays.next_observation[:length, episode], ends.next_observation[:length, episode]
        )
        rest = np.asarray(stays.next_observation[length:, episode])
        assert (rest == np.asarray(ends.next_observation[length - 1, episode])).all()
        assert not np.asarray(stays.reward[length:, episode]).any()


@pytest.mark.parametrize("name", TASKS)
def test_gymnasiums_checker_has_no_complaint(name: str) -> None:
    env = gymnasium.make(f"surefoot/{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*infinity")  # as Gymnasium's own
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_no_log_is_left_behind(tmp_path: Any) -> None:
    gymnasium.make("surefoot/FixedHalfCheetah-v0").reset(seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find_library("EGL") is None, reason="this machine cannot draw without a screen")
def test_a_picture() -> None:
    env = gymnasium.make("surefoot/FixedHopper-v0", render_mode="rgb_array")
    env.reset(seed=0)
    picture: Any = env.render()
    assert picture.shape == (480, 480, 3) and picture.std() > 10
    assert env.metadata["render_fps"] == 125
    env.close()


def test_wrong_use_is_refused_clearly() -> None:
    with pytest.raises(SurefootError, match="Did you mean 'absorbing'"):
        sf.make("FixedHopper-v0", absorbin=True)
    with pytest.raises(SurefootError, match="Did you mean 'FixedHopper-v0'"):
        sf.make("FixedHoper-v0")
    with pytest.raises(SurefootError, match="reset"):
        gymnasium.make("surefoot/FixedHopper-v0").unwrapped.step(np.zeros(3))
