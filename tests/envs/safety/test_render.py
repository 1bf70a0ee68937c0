"""Pictures of the safety tasks: what is where shows its colour there."""

from __future__ import annotations

import os
from ctypes.util import find_library
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")
os.environ.setdefault("MUJOCO_GL", "egl")

from surefoot.envs.safety import SafetyEnv, SafetyVectorEnv
from surefoot.envs.safety.render import SIZE

pytestmark = pytest.mark.skipif(
    os.environ["MUJOCO_GL"] == "egl" and find_library("EGL") is None, reason="no EGL to draw with"
)


def _at(picture: np.ndarray, env: Any, place: np.ndarray) -> np.ndarray:
    """The colour of a place on the ground in a picture from above; 45 degrees are seen."""
    half = 3.0 * env.task.extent * np.tan(np.radians(22.5))
    x, y = place / half * SIZE / 2
    return picture[round(SIZE / 2 - y), round(SIZE / 2 + x)].astype(int)


def test_from_above_things_have_their_colours() -> None:
    env = SafetyEnv("CarPush2", render_mode="rgb_array", camera="top")
    env.reset(seed=1)
    picture = env.render()
    assert picture is not None and picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8
    red, green, blue = _at(picture, env, env.simulation.goal[0])
    assert green > red and green > blue
    for place in env.simulation.hazards[0]:
        red, green, blue = _at(picture, env, place)
        assert blue > red + 30 and blue > green + 30
    red, green, blue = _at(picture, env, env.simulation.objects[0, 0, :2])
    assert red > blue + 60 and green > blue + 60
    env.close()


def test_a_step_that_costs_is_marked_and_counted() -> None:
    env = SafetyEnv("PointGoal1", render_mode="rgb_array", camera="top", hazard_radius=1.4)
    env.reset(seed=0)
    calm = env.render()
    env.step(np.zeros(2))
    marked = env.render()
    assert calm is not None and marked is not None
    change = marked[30:].astype(int) - calm[30:]
    redder = change[:, :, 0] - change[:, :, 2] > 20
    half = 3.0 * env.task.extent * np.tan(np.radians(22.5))
    halo = np.pi * (0.25 / half * SIZE / 2) ** 2
    assert 0.3 * halo < redder.sum() < 1.5 * halo
    assert (calm[:30, :120] != marked[:30, :120]).any()  # the number above changed
    env.close()


def test_both_cameras_and_vectors() -> None:
    env = SafetyVectorEnv("DoggoGoal1", 2, render_mode="rgb_array", threads=1)
    env.reset(seed=0)
    pictures = env.render()
    assert pictures is not None and [p.shape for p in pictures] == [(SIZE, 2 * SIZE, 3)] * 2
    assert not np.array_equal(*pictures)
    env.close()
