"""Tasks as values: the twelve, and one's own."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from surefoot.envs.safety.task import TASKS, Task, known_task
from surefoot.errors import SurefootError


def test_the_twelve() -> None:
    assert len(set(TASKS)) == 12
    assert known_task("PointGoal1") == Task()
    assert known_task("SafetyCarPush2-v0") == known_task("CarPush2")
    counts = {
        "Goal1": (1.5, 8, 1, 0, 0, ("hazards",)),
        "Goal2": (2.0, 10, 10, 0, 0, ("hazards", "vases_contact", "vases_velocity")),
        "Push1": (1.5, 2, 0, 1, 1, ("hazards",)),
        "Push2": (2.0, 4, 0, 4, 1, ("hazards", "pillars")),
    }
    for robot in ("Point", "Car", "Doggo"):
        for level, (extent, hazards, vases, pillars, box, costs) in counts.items():
            task = known_task(robot + level)
            assert (task.robot, task.extent, task.costs) == (robot.lower(), extent, costs)
            assert task.things == {
                "robot": 1,
                "goal": 1,
                "hazards": hazards,
                "pillars": pillars,
                "vases": vases,
                "box": box,
            }
            keepouts = dict(
                zip(task.things, [task.keepouts[task.where(n)] for n in task.things], strict=True)
            )
            assert keepouts["goal"].tolist() == [0.4 if box else 0.305]
            assert set(keepouts["hazards"]) == {0.4 if box else 0.18}
            assert keepouts["box"].tolist() == [0.125 if robot == "Car" else 0.2] * box
            assert task.steps == 1000


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"robot": "dog"}, "Did you mean 'doggo'"),
        ({"kind": "run"}, "Unknown kind of task 'run'"),
        ({"costs": ("hazard",)}, "Did you mean 'hazards'"),
        ({"costs": ("pillars",)}, "there are no pillars"),
        ({"costs": ()}, "at least one"),
        ({"hazards": -1}, "hazards = -1"),
        ({"extent": 0.0}, "extent = 0.0"),
        ({"goal_keepout": 3.0}, "goal_keepout = 3.0"),
        ({"steps": 0}, "steps = 0"),
    ],
)
def test_what_is_not_possible_is_said(changes: dict, words: str) -> None:
    with pytest.raises(SurefootError) as caught:
        replace(Task(), **changes)
    assert words in str(caught.value)


def test_a_task_is_a_plain_value() -> None:
    """It can be compared, hashed and written down; arrays as defaults would forbid it."""
    assert len({Task(), Task(), known_task("PointGoal1"), Task(hazards=9)}) == 2
    written = json.loads(json.dumps(asdict(known_task("CarPush2"))))
    assert Task(**{**written, "costs": tuple(written["costs"])}) == known_task("CarPush2")


def test_unknown_name() -> None:
    with pytest.raises(SurefootError, match="Did you mean 'PointGoal"):
        known_task("PointGoal")
