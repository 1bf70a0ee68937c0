"""The pages of the safety tasks name what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import gymnasium
import pytest

from surefoot.envs.safety.task import COSTS, LEVELS, ROBOTS, known_task

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "safety_tasks.md").read_text(encoding="utf-8")


def test_all_levels_costs_and_options_are_on_the_page() -> None:
    from surefoot.envs.safety.env import SafetyEnv

    options = [n for n in inspect.signature(SafetyEnv).parameters if n not in ("task", "changes")]
    for name in (*LEVELS, *(f"`{cost}`" for cost in COSTS), *(f"`{option}`" for option in options)):
        assert name in PAGE, name


@pytest.mark.parametrize("kind", ["goal", "push"])
def test_the_entries_of_observations_are_those_of_the_simulation(kind: str) -> None:
    from surefoot.envs.safety import SafetyEnv

    lines = (DOCS / f"safety_{kind}.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    for column, robot in enumerate(ROBOTS, start=1):
        spans = [(row[0], row[column]) for row in rows if row[0].startswith(("felt", "seen")) and row[column]]
        whole = [int(row[column]) for row in rows if row[0] == "all"]
        env = SafetyEnv(f"{robot.capitalize()}{kind.capitalize()}1")
        entries = []
        for _, span in spans:
            first, last = map(int, span.split("-"))
            entries += range(first, last + 1)
        assert isinstance(env.observation_space, gymnasium.spaces.Box)
        low = env.observation_space.low
        assert entries == list(range(len(low))) and whole == [len(low)]
        seen = [(name, span) for name, span in spans if name.startswith("seen")]
        assert tuple(re.findall(r"seen: (\w+)", name)[0] for name, _ in seen) == env.simulation.task.lidars
        assert int(seen[0][1].split("-")[0]) == list(low).index(0.0)
        env.close()


@pytest.mark.parametrize("level", LEVELS)
def test_the_layouts_on_the_pages_are_those_of_the_tasks(level: str) -> None:
    task = known_task(f"Point{level}")
    page = (DOCS / f"safety_{task.kind}.md").read_text(encoding="utf-8")
    table = page.split("## Layout")[1].split("## Reward")[0]
    rows = {
        row[1]: row
        for row in ([c.strip() for c in line.split("|")] for line in table.splitlines())
        if row[1:]
    }
    column = 2 + (level[-1] == "2")
    assert float(rows["square, m to each side"][column]) == task.extent
    for thing, count in task.things.items():
        row = rows.get("box, Point and Doggo" if thing == "box" else thing)
        if row is None:
            assert count == 0, thing
            continue
        assert int(row[column]) == count, thing
        assert float(row[5]) == task.keepouts[task.where(thing)][0], thing
    assert rows["hazards"][4] == f"radius {task.hazard_radius:g}"
    assert rows["goal"][4] == f"radius {task.goal_radius:g}"
