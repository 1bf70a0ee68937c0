"""PointGoal1 by positions: against the task itself played beside it, and against what its lidar sees."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("mujoco")

import surefoot as sf
from surefoot.envs.safety.env import SafetyEnv
from surefoot.envs.safety.positions import Positions, point_goal
from surefoot.errors import SurefootError


def beside(seed: int) -> tuple[Positions, SafetyEnv, np.ndarray, np.ndarray]:
    """Both at the start of the same layout, and what they show."""
    ours, task = point_goal(), SafetyEnv("PointGoal1", vases=0, costs=("hazards",))
    return ours, task, ours.reset(seed=seed)[0], task.reset(seed=seed)[0]


def test_a_decision_is_five_actions_of_the_task() -> None:
    violating = goals = 0
    for seed in range(2):
        ours, task, shown, _ = beside(seed)
        truncated, decisions = False, 0
        while not truncated:
            action = np.array([0.7, np.clip(2 * np.arctan2(shown[4], shown[3]), -1, 1)], np.float32)
            shown, reward, terminated, truncated, info = ours.step(action)
            held = [task.step(action) for _ in range(5)]
            decisions += 1
            np.testing.assert_allclose(reward, sum(step[1] for step in held), atol=1e-9)
            assert info["cost"] == max(step[4]["cost"] for step in held)
            assert info["goals"] == sum(step[4]["goal_met"] for step in held)
            assert not terminated and truncated == held[-1][3]
            violating, goals = violating + info["cost"][0], goals + info["goals"]
        assert decisions == ours.max_episode_steps == 200
    assert violating > 5 and goals > 5  # it was driven to its goals, through hazards


def test_places_agree_with_the_lidar() -> None:
    """The lidar says how near a thing is, s = 1 - distance / 3, in the bin of its direction, 22.5 degrees."""
    rng = np.random.default_rng(0)
    for seed in range(4):
        ours, task, shown, seen = beside(seed)
        for _ in range(8):
            goal, hazards = seen[12:28], seen[28:44]
            np.testing.assert_allclose(shown[:3], seen[[3, 4, 8]], rtol=1e-6)
            places = shown[3:].reshape(-1, 2)
            distances = np.hypot(*places.T)
            assert distances[1:].tolist() == sorted(distances[1:].tolist())
            bins = (np.arctan2(places[:, 1], places[:, 0]) % (2 * np.pi) // (np.pi / 8)).astype(int)
            for bin_, distance, lidar in zip(bins[:2], distances[:2], (goal, hazards), strict=True):
                np.testing.assert_allclose(lidar.max(), max(0.0, 1 - distance / 3), atol=2e-3)
                assert lidar[bin_] == lidar.max()
            action = rng.uniform(-1, 1, 2).astype(np.float32)
            shown, *_ = ours.step(action)
            for _ in range(5):
                seen, *_ = task.step(action)


def test_gymnasiums_checker_and_the_world() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for known in (".*value is -?infinity", ".*alternative render modes"):
            warnings.filterwarnings("ignore", message=known)
        check_env(point_goal(shown=2))
    world = sf.make("python:surefoot.envs.safety.positions.point_goal", envs=1, hold=10, shown=1)
    assert world.task.horizon == 100 and world.task.constraints == ("hazards",)
    assert world.task.observation.size == 7


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(SurefootError, match="hold"):
        point_goal(hold=0)
    with pytest.raises(SurefootError, match="shown"):
        point_goal(shown=9)
