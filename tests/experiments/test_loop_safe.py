"""The cells of safe planning, its numbers and its page, from records made up here."""

from __future__ import annotations

import numpy as np
import pytest

from surefoot.experiments import ABOUT, EXPERIMENTS, SCALES, Cell, experiment, loop_safe
from surefoot.experiments.loop_safe import EPISODES, FREE, METHODS, SAFE, STEPS, TASKS
from surefoot.experiments.loop_safe_page import Runs, claims, number, write
from surefoot.experiments.worker import tuples


def limit(cell):
    return TASKS[cell.setting.partition("-")[0]].limit


@pytest.mark.parametrize("scale", SCALES)
def test_cells_are_well_formed(scale):
    from surefoot.algorithms import algorithm

    made = experiment("loop-safe").at(scale)
    assert "loop-safe" in EXPERIMENTS and "loop-safe" in ABOUT
    names = [cell.name for cell in made]
    assert len(set(names)) == len(names) == len(TASKS) * len(METHODS) * loop_safe.SCALES[scale].seeds
    for cell in made:
        assert Cell.from_dict(cell.as_dict()) == cell
        settings = algorithm(cell.algorithm)(**tuples(cell.options))
        assert settings.warm_up < cell.steps == settings.replay_capacity
        row = cell.log_every or 0
        assert row >= 200 and cell.steps % row == 0  # an episode ends in each row
        assert settings.plan_cost_limits == ((limit(cell),) if cell.method == SAFE else None)
    for free, safe in zip(made[::2], made[1::2], strict=True):  # and nothing else differs
        assert {
            **free.options,
            "plan_cost_limits": [limit(safe)],
        } == safe.options and free.world == safe.world


def test_both_tasks_have_what_the_cells_ask_for():
    pytest.importorskip("mujoco")
    import surefoot as sf

    for cell in loop_safe.cells("smoke"):
        task = sf.make(cell.environment, **tuples(cell.world)).task
        assert task.constraints == (TASKS[cell.setting.partition("-")[0]].constraints or ("hazards",))
        assert task.horizon == 200
        assert task.reports_success == ("success" in cell.training_metrics)


def record(task, method, seed, steps, returns):
    """Violating steps ``steps`` while training, by rows of 500 from the first, half of it at the end."""
    rows = [500 * (i + 1) for i in range(len(steps))]
    curve = {"steps": rows, "seeds": [steps]}
    return {
        "method": method,
        "setting": f"{task}-seed{seed}",
        "cell": f"{task}-seed{seed}/{method}",
        "environment": "E-v0",
        "group": "main",
        "seeds": [seed],
        "steps": rows[-1],
        "options": {"warm_up": 1000},
        "metrics": {},
        "versions": {"surefoot": "0"},
        "command": "made up",
        "per_seed": {
            "return": [returns],
            "test_return": [returns + 2.0],
            STEPS: [steps[-1] / 2],
            EPISODES: [0.5],
            "test_" + EPISODES: [0.25],
        },
        "curves": {f"{STEPS}/speed": curve}
        | {STEPS: curve, EPISODES: {"steps": rows, "seeds": [[x and x / 10 for x in steps]]}},
    }


def records():
    made = []
    for seed in (0, 1):
        made.append(record("MarbleMaze", FREE, seed, [9.0, 9.0, 4.0, None, 6.0 + seed], -50.0))
        made.append(record("MarbleMaze", SAFE, seed, [9.0, 9.0, 1.0, 1.0, 1.0], -60.0))
    return [*made, record("PointGoal1", FREE, 0, [5.0, 5.0, 5.0], 3.0)]


def middle(value):
    """The estimate of a number that is there."""
    assert value is not None
    return value.estimate


def test_numbers_leave_the_random_steps_out_and_pool_both_sets_of_starts():
    table = Runs(records())
    assert table.tasks() == ["MarbleMaze", "PointGoal1"]
    np.testing.assert_allclose(middle(table.trained("MarbleMaze", FREE, STEPS)), 5.25)  # of 5 and 5.5
    assert middle(table.trained("MarbleMaze", SAFE, STEPS)) == 1.0
    assert middle(table.end("MarbleMaze", SAFE, "return")) == -59.0
    assert middle(table.end("MarbleMaze", SAFE, EPISODES)) == 0.375
    assert table.end("PointGoal1", FREE, "success") is None
    assert table.trained("PointGoal1", SAFE, STEPS) is None


def test_claims_are_judged_by_the_numbers():
    found = {(c.claim, c.where): c.verdict for c in claims(records())}
    for (claim, where), verdict in found.items():
        if where == "PointGoal1":
            assert verdict.holds is None
        elif "return" in claim or "episodes that violate by" in claim:  # the latter are equal
            assert verdict.holds is False
        else:
            assert verdict.holds and not verdict.certain  # two seeds have a range alone
    third = [r | {"setting": "MarbleMaze-seed2", "seeds": [2], "cell": r["method"]} for r in records()[2:4]]
    more = {(c.claim, c.where): c.verdict for c in claims(records() + third)}
    assert all(verdict.certain == bool(found[at].holds) for at, verdict in more.items() if found[at].holds)
    assert any(verdict.certain for verdict in more.values())
    alone = [r for r in records() if r["seeds"] == [0]]
    assert not any(c.verdict.certain for c in claims(alone))


def test_the_page_shows_what_there_is_and_what_is_missing(tmp_path):
    path = write(records(), "laptop", tmp_path)
    text = path.read_text()
    assert "| MarbleMaze | safe | 1.00 [1.00, 1.00] | 10 [10, 10] % |" in text
    assert "| MarbleMaze | speed | 5.25 [5.00, 5.50] | 1.00 [1.00, 1.00] |" in text
    assert "| MarbleMaze | zone | - | - |" in text
    assert "| PointGoal1 | safe | - | - | - | - | 0 |" in text
    assert "`PointGoal1-seed0/safe`" in text.partition("have not been run")[2]
    assert (tmp_path / "loop-safe" / "training.svg").exists()
    assert write([], "laptop", tmp_path / "empty").exists()
    assert number(None) == "-" and middle(Runs(records()).end("PointGoal1", FREE, "return")) == 4.0
