"""Where things are put: distances that are kept, places that are uniform, chance that a seed fixes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from surefoot.envs.safety import layout
from surefoot.envs.safety.layout import Layouts, OriginalLayouts
from surefoot.envs.safety.task import TASKS, Task, known_task
from surefoot.errors import SurefootError


def _many(task: Task, worlds: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    source = Layouts(task, worlds)
    for world in range(worlds):
        source.seed(world, seed + world)
    return source.layouts(np.arange(worlds))


@pytest.mark.parametrize("level", ["Goal1", "Goal2", "Push1", "Push2"])
def test_distances_over_ten_thousand_layouts(level: str) -> None:
    """2500 of each level; the robot's kind changes nothing but the box."""
    for robot, worlds in (("Point", 1250), ("Car", 1250)):
        task = known_task(robot + level)
        places, yaws = _many(task, worlds)
        keepouts = task.keepouts
        apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=3)
        needed = keepouts[:, None] + keepouts
        first, second = np.triu_indices(len(keepouts), 1)
        assert (apart[:, first, second] >= needed[first, second]).all()
        assert (np.abs(places) <= (task.extent - keepouts)[:, None]).all()
        assert yaws.min() >= 0 and yaws.max() < 2 * np.pi


def test_both_sources_draw_from_one_distribution() -> None:
    """Distance from robot to goal, and the places of robot and last vase, against the original's stream."""
    task = known_task("PointGoal2")
    worlds = 400
    ours = _many(task, worlds)[0]
    source = OriginalLayouts(task, worlds)
    for world in range(worlds):
        source.seed(world, world)
    theirs = source.layouts(np.arange(worlds))[0]
    for of in (
        lambda places: np.linalg.norm(places[:, 0] - places[:, 1], axis=1),
        lambda places: places[:, 0, 0],
        lambda places: places[:, 1, 1],
        lambda places: places[:, -1, 0],
    ):
        assert stats.ks_2samp(of(ours), of(theirs)).pvalue > 0.01


def test_start_distances() -> None:
    """On average 1.40 m in Goal1 and 1.89 m in Goal2 (measured on the original stream), never below 0.705."""
    for level, mean in (("PointGoal1", 1.40), ("PointGoal2", 1.89)):
        places = _many(known_task(level), 2000)[0]
        distance = np.linalg.norm(places[:, 0] - places[:, 1], axis=1)
        assert distance.min() >= 0.705
        assert distance.mean() == pytest.approx(mean, abs=0.06)  # four standard errors


def test_a_single_thing_is_uniform() -> None:
    places = _many(known_task("PointGoal1"), 3000)[0][:, 0]  # the robot is placed first
    reach = 1.5 - 0.4
    for axis in range(2):
        assert stats.kstest(places[:, axis], stats.uniform(-reach, 2 * reach).cdf).pvalue > 0.01
    yaws = _many(known_task("PointGoal1"), 3000)[1][:, 0]
    assert stats.kstest(yaws, stats.uniform(0, 2 * np.pi).cdf).pvalue > 0.01


def test_a_world_depends_on_its_seed_alone() -> None:
    task = known_task("CarPush2")
    together = _many(task, 6, seed=10)
    source = Layouts(task, 1)
    source.seed(0, 13)
    alone = source.layouts(np.zeros(1, int))
    np.testing.assert_array_equal(together[0][3], alone[0][0])
    np.testing.assert_array_equal(together[1][3], alone[1][0])
    assert not np.array_equal(together[0][3], together[0][4])
    again = source.layouts(np.zeros(1, int))
    assert not np.array_equal(again[0], alone[0])


@pytest.mark.parametrize("make", [Layouts, OriginalLayouts])
def test_next_goals_keep_clear_of_everything(make: type) -> None:
    task = known_task("PointPush2")
    source = make(task, 50)
    places = source.layouts(np.arange(50))[0]
    others = np.delete(places, 1, axis=1)
    others[:, 0] = 0.0  # the robot has moved
    goals, found = source.goals(np.arange(50), others)
    assert found.all()
    distance = np.linalg.norm(goals[:, None] - others, axis=2)
    assert (distance >= np.delete(task.keepouts, 1) + 0.4).all()
    assert (goals != places[:, 1]).any(axis=1).all()


@pytest.mark.parametrize("make", [Layouts, OriginalLayouts])
def test_a_goal_that_finds_no_place(make: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "GOAL_TRIES", 200)
    task = replace(known_task("PointGoal1"), hazards=1, vases=0)
    source = make(task, 2)
    grid = np.linspace(-1.2, 1.2, 2)
    everywhere = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(1, -1, 2)[:, :2]
    source.keepouts = np.array([3.0, 0.305, 3.0])
    goals, found = source.goals(np.zeros(1, int), everywhere)
    assert not found.any()
    assert np.isfinite(goals).all()


@pytest.mark.parametrize("make", [Layouts, OriginalLayouts])
@pytest.mark.parametrize(
    "changes, crowd", [({"hazards": 60}, "hazards"), ({"vases": 80, "hazards": 1}, "vases")]
)
def test_a_crowd_is_named(make: type, changes: dict, crowd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LARGEST_NUMBER_OF_LAYOUTS", 3)
    with pytest.raises(SurefootError, match=f"no place for '{crowd}' within"):
        make(Task(**changes), 1).layouts(np.zeros(1, int))


def test_a_crowd_that_no_square_could_hold_is_refused_at_once() -> None:
    with pytest.raises(SurefootError, match="'hazards' need most of it"):
        Task(hazards=4000)
    # 81 discs on a grid fill pi / 4 of the square: they fit, so nothing may be said against them.
    Task(robot_keepout=0.0, goal_keepout=0.0, hazards=81, hazard_keepout=1.5 / 9, vases=0)


@pytest.mark.parametrize("make", [Layouts, OriginalLayouts])
def test_saved_streams_go_on(make: type) -> None:
    source = make(known_task("DoggoGoal1"), 3)
    source.layouts(np.arange(2))
    saved = source.save()
    first = source.layouts(np.arange(3))
    other = make(known_task("DoggoGoal1"), 3)
    other.restore(saved)
    np.testing.assert_array_equal(first[0], other.layouts(np.arange(3))[0])


def test_every_task_can_be_laid_out() -> None:
    for name in TASKS:
        assert np.isfinite(_many(known_task(name), 20)[0]).all()
