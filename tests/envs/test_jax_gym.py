"""JAX environments with Gymnasium's face: the checker's rules, and equality with the JAX form."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import surefoot as sf
from surefoot.envs.jax_gym import PointMassGym, ReacherTraceGym
from surefoot.envs.point_mass import PointMass
from surefoot.envs.reacher_trace import ReacherTrace
from surefoot.errors import SurefootError

BOTH = [
    (PointMassGym, PointMass, {"size": 6.0, "reward": "goals"}),
    (ReacherTraceGym, ReacherTrace, {}),
]


@pytest.mark.parametrize("name", ["PointMass-v0", "ReacherTrace-v0", "NoisyWalk-v0"])
@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_gymnasiums_checker_has_no_complaint(name: str, render_mode: str | None) -> None:
    env = gymnasium.make(f"surefoot/{name}", render_mode=render_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if name == "NoisyWalk-v0":  # the plane has no end
            warnings.filterwarnings("ignore", message=".*value is -?infinity")
        check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("face, form, options", BOTH)
def test_equals_the_jax_form_step_for_step(face: Any, form: Any, options: dict[str, Any]) -> None:
    env, plain = face(**options), form(**options)
    observation, info = env.reset(seed=3)
    step, observe = jax.jit(plain.step), jax.jit(plain.observe)
    state = plain.reset(jax.random.key(0))  # both start at one place
    np.testing.assert_array_equal(observation, observe(state))
    assert info["cost"].shape == (0,)
    rng = np.random.default_rng(0)
    truncated = False
    for _ in range(plain.horizon):
        assert not truncated
        action = rng.uniform(-0.2, 1, 2).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        state, result = step(state, action)
        np.testing.assert_allclose(observation, observe(state), rtol=1e-6, atol=1e-6)
        assert env.observation_space.contains(observation)
        assert reward == float(result.reward) and not terminated
        assert info.get("success", False) == bool(result.success)
    assert truncated


def test_the_seed_fixes_the_start() -> None:
    env, other = ReacherTraceGym(noise=1.0), ReacherTraceGym(noise=1.0)
    firsts = [env.reset(seed=seed)[0] for seed in range(4)]
    np.testing.assert_array_equal(firsts, [other.reset(seed=seed)[0] for seed in range(4)])
    assert len({tuple(first) for first in firsts}) == 4
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])


def test_wrong_use_is_refused_clearly() -> None:
    env = PointMassGym()
    with pytest.raises(SurefootError, match="reset"):
        env.step(np.zeros(2))
    env.reset(seed=0)
    for action in (np.zeros(3), np.array([0.0, np.nan])):
        with pytest.raises(SurefootError, match="2 numbers"):
            env.step(action)
    with pytest.raises(SurefootError, match="Did you mean 'size'"):
        PointMassGym(sise=6)
    with pytest.raises(SurefootError, match="Did you mean 'rgb_array'"):
        PointMassGym(render_mode="rgb")


def test_a_gymnasium_world_plays_them_too() -> None:
    world = sf.make("gymnasium:surefoot/PointMass-v0", envs=1, size=6.0)
    assert world.task.horizon == 29 and world.task.constraints == ()


@pytest.mark.parametrize("face, form, options", BOTH)
def test_pictures_show_the_way(face: Any, form: Any, options: dict[str, Any]) -> None:
    env = face(render_mode="rgb_array", **options)
    env.reset(seed=0)
    first = env.render()
    for _ in range(4):
        env.step(np.array([0.3, 0.5]))
    later = env.render()
    assert first.shape == later.shape == (480, 480, 3) and first.dtype == np.uint8
    trail = np.array([24, 92, 140])  # the colour of the trail and of its end

    def amount(picture: np.ndarray) -> int:
        return int((np.abs(picture.astype(int) - trail).max(-1) < 30).sum())

    assert 0 < amount(first) < amount(later)
    if face is PointMassGym:  # the dot stands at (1.2, 2.0), the goal is marked in green
        x, y = 480 * (0.06 + 0.88 * 1.2 / 6), 480 * (0.94 - 0.88 * 2.0 / 6)
        np.testing.assert_allclose(later[round(y), round(x)], trail, atol=3)
        red, green, blue = later[25, 455].astype(int)
        assert green > red + 40 and green > blue + 40
