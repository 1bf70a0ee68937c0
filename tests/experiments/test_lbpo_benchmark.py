from typing import Any

import numpy as np
import pytest

from surefoot.experiments import (
    SCALES,
    Cell,
    lbpo_backtracks,
    lbpo_beta,
    lbpo_robustness,
)
from surefoot.experiments.identity import digests
from surefoot.experiments.lbpo_backtracks_page import Counts, counted
from surefoot.experiments.lbpo_backtracks_page import claims as backtrack_claims
from surefoot.experiments.lbpo_backtracks_page import write as write_backtracks
from surefoot.experiments.lbpo_benchmark import METHODS, START, TASKS, cells, setting
from surefoot.experiments.lbpo_benchmark_page import Seeds, claims, write
from surefoot.experiments.worker import tuples

PER_TASK = 1 + 5 + 2 + 2 + 1
"""Claims: hardly ever unsafe, safer than the others, four on returns, PPO."""


@pytest.mark.parametrize("scale", SCALES)
def test_cells_are_well_formed(scale):
    import surefoot as sf
    from surefoot.algorithms import algorithm

    made = cells(scale)
    names = [cell.name for cell in made]
    assert len(set(names)) == len(names)
    for cell in made:
        assert Cell.from_dict(cell.as_dict()) == cell
        learner = algorithm(cell.algorithm)(**tuples(cell.options))
        assert cell.steps % learner.steps_per_iteration == 0
        assert cell.log_every == learner.steps_per_iteration  # a row of metrics is an epoch
        horizon = cell.world.get("steps", 1000)
        assert learner.steps_per_iteration == cell.world["envs"] * horizon  # whole episodes
        source = cell.source
        assert (source is not None) == (cell.method not in (START, "PPO"))
        if source is not None:
            assert names.index(source.name) < names.index(cell.name)
            assert source.seeds == cell.seeds and source.environment == cell.environment
            assert source.options["hidden"] == cell.options["hidden"]
            critics = source.options["critic_hidden"]
            assert cell.options.get("critic_hidden", critics) == critics
    world = sf.make(made[0].environment, **tuples(made[0].world))
    assert world.task.limits == (25.0,) and world.task.horizon == made[0].world.get("steps", 1000)


def test_what_the_experiment_must_contain():
    laptop = {cell.setting.partition("-")[0] for cell in cells("laptop")}
    assert {"PointGoal1", "PointGoal2", "PointPush1", "PointPush2", "CarGoal1", "CarPush1"} < laptop
    assert sum(task.startswith("Doggo") for task in laptop) == 1
    assert all(len({c.seeds for c in cells("laptop") if c.setting.startswith(t)}) == 2 for t in laptop)
    paper = [cell for cell in cells("paper") if cell.method != START]
    assert len(paper) == 12 * 3 * 6 and {cell.steps // 30_000 for cell in paper} == {667}
    assert {cell.options["beta"] for cell in paper if cell.setting.startswith("CarGoal2") and
            cell.method == "LBPO"} == {0.008}  # fmt: skip


def test_published_numbers_agree_with_each_other():
    # Table 4.2 is Table 4.3 over PPO's return, but for one misprint of the thesis.
    for name, task in TASKS.items():
        shares = [max(0.0, value / task.returns[0]) for value in task.returns]
        for method, share, printed in zip(METHODS, shares, task.shares, strict=True):
            if (name, method) != ("CarPush2", "LBPO"):
                assert printed == pytest.approx(share, abs=0.02), (name, method)
        assert all(0 <= share <= 1 for share in task.unsafe)


def test_other_experiments_have_the_very_same_cells():
    known: dict[Any, Any] = {}
    for scale in SCALES:
        ours = {cell.name: digests(cell, known)[0] for cell in (*cells(scale), *lbpo_robustness.cells(scale))}
        for other in (lbpo_backtracks, lbpo_beta):
            shared = [cell for cell in other.cells(scale) if cell.name in ours]
            assert shared and all(digests(cell, known)[0] == ours[cell.name] for cell in shared)
    usual = [cell for cell in lbpo_beta.cells("laptop") if cell.method == "LBPO"]
    assert [cell.options["beta"] for cell in usual] == [0.005, 0.02]
    assert usual[0] in lbpo_robustness.cells("laptop") and usual[1] in cells("laptop")


# Numbers --------------------------------------------------------------------------------------------


def known(value: Any) -> Any:
    assert value is not None
    return value


def record_of(cell: Cell, unsafe: float, returned: float) -> dict:
    """A run of ten epochs whose first ones are unsafe."""
    broken = [1.0] * round(10 * unsafe) + [0.0] * (10 - round(10 * unsafe))
    steps = [known(cell.log_every) * (i + 1) for i in range(10)]
    curves = {"unsafe_epochs": broken, "return": [0.0] * 9 + [returned], "cost/cost": [30.0] * 9 + [4.0]}
    return {
        "method": cell.method,
        "environment": cell.environment,
        "setting": cell.setting,
        "steps": steps[-1],
        "seeds": list(cell.seeds),
        "metrics": {},
        "per_seed": {"unsafe_epochs": [unsafe]},
        "curves": {name: {"steps": steps, "seeds": [values]} for name, values in curves.items()},
        "command": "surefoot reproduce lbpo-benchmark --scale laptop",
        "versions": {"surefoot": "0.1.0"},
        "cell": cell.name,
        "group": cell.group,
        "options": dict(cell.options),
        "log_every": cell.log_every,
        "warnings": [],
    }


@pytest.fixture
def records() -> list[dict]:
    """Two seeds of one task with the numbers of the thesis, and one seed of another."""
    made = []
    for cell in cells("laptop"):
        task = cell.setting.partition("-")[0]
        if task == "PointGoal1" or (task == "CarGoal1" and cell.seeds == (0,)):
            published = {"unsafe_epochs": 0.5, "return": 0.0}
            published |= {} if cell.method == START else TASKS[task].published(cell.method)
            unsafe = {0.04: 0.0, 0.03: 0.0}.get(published["unsafe_epochs"], published["unsafe_epochs"])
            made.append(record_of(cell, unsafe, published["return"] + 0.1 * cell.seeds[0]))
    return made


def test_seeds_are_taken_together(records):
    table = Seeds(records)
    assert table.tasks() == ["PointGoal1", "CarGoal1"]
    value = known(table.returned("PointGoal1", "CPO"))
    assert (value.estimate, value.lower, value.upper) == pytest.approx((10.31, 10.26, 10.36))
    assert known(table.relative("PointGoal1", "CPO")).estimate == pytest.approx(10.31 / 23.04)
    assert known(table.unsafe("CarGoal1", "CPO")).n == 1
    assert table.unsafe("PointPush1", "CPO") is None


def test_claims(records):
    found = claims(records)
    assert len(found) == 2 * PER_TASK and all(claim.verdict.holds for claim in found)
    assert not any(claim.verdict.certain for claim in found)  # two seeds have a range, and one has none
    second = [r for r in records if r["setting"] == setting("PointGoal1", 1)]
    third = [r | {"setting": setting("PointGoal1", 2), "seeds": [2], "cell": r["method"]} for r in second]
    more = claims(records + third)
    assert {claim.where for claim in more if claim.verdict.certain} == {"PointGoal1"}
    assert all(claim.verdict.certain for claim in more if claim.where == "PointGoal1")
    few = [record for record in records if record["method"] != "LBPO"]
    assert sum(claim.verdict.holds is None for claim in claims(few)) == 2 * (1 + 5 + 2)
    worse = [r | {"per_seed": {"unsafe_epochs": [1.0]}} if r["method"] == "LBPO" else r for r in records]
    assert sum(claim.verdict.holds is False for claim in claims(worse)) == 2 * (1 + 4)  # PPO's is no lower
    assert claims([]) == []


def test_page_with_gaps(records, tmp_path):
    text = write(records, "laptop", tmp_path).read_text()
    assert "| PointGoal1 | **100** [100, 100] / 100 | **48** [48, 48] / 48 |" in text
    assert "| CarGoal1 | **34.62** / 34.62 |" in text  # one seed, no range
    assert "| PointPush1 | not run / 100 | not run / 51 |" in text
    assert "| 300,000 | 2 |" in text and "**Fewer steps than in the thesis" in text
    assert "`PointPush1-seed0/LBPO`" in text.partition("have not been run")[2]
    assert "## Learning curves" in text and "lbpo-benchmark/CarGoal1.svg" in text
    svg = (tmp_path / "lbpo-benchmark/PointGoal1.svg").read_text()
    assert "cost of an episode" in svg and "#ff0000" in svg  # the limit
    assert "thesis, same tasks" in (tmp_path / "lbpo-benchmark/tradeoff.svg").read_text()
    bare = write([], "laptop", tmp_path / "none").read_text()
    assert "not run / 4" in bare and "Learning curves" not in bare


# Recovery steps -------------------------------------------------------------------------------------


def walked(cell: Cell, unsafe: list[list[float]], rows: int) -> dict:
    """A run whose curve was thinned to stretches of ``rows`` epochs, with one of half that at the end."""
    size = len(unsafe[0])
    ends = [rows * (i + 1) for i in range(size - 1)] + [rows * (size - 1) + rows // 2]
    steps = [known(cell.log_every) * end for end in ends]
    made = record_of(cell, 0.0, 0.0) | {"steps": steps[-1], "seeds": list(range(len(unsafe)))}
    return made | {"curves": {"unsafe_epochs": {"steps": steps, "seeds": unsafe}}}


def test_recoveries_are_counted_from_thinned_curves():
    (cell,) = (c for c in lbpo_backtracks.cells("laptop") if c.name == "noisy-walk/CPO")
    updates, steps = counted(walked(cell, [[0.5, 0.25, 1.0], [0.0, 0.0, 0.5]], 8))
    np.testing.assert_array_equal(updates, [0, 8, 16, 20])
    np.testing.assert_array_equal(steps, [[0, 4, 6, 10], [0, 0, 0, 2]])


def test_recoveries_are_compared_after_as_many_updates(records, tmp_path):
    walk = {c.method: c for c in lbpo_backtracks.cells("laptop") if c.setting == "noisy-walk"}
    assert all(
        cell.steps == 400 * cell.options["batch_steps"] and len(cell.seeds) == 5 for cell in walk.values()
    )
    half = [[0.5] * 60, [0.5] * 60]
    more = [walked(walk[method], half, 8) for method in ("CPO", "SDDPG", "BACKTRACK")]
    more.append(walked(walk["LBPO"], [[0.0] * 40, [0.0] * 40], 8))  # 316 updates
    table = Counts(records + more)
    assert table.updates("noisy-walk") == 316 and table.updates("CarGoal1") == 10
    assert known(table.total("noisy-walk", "CPO")).estimate == pytest.approx(158)
    assert known(table.total("PointGoal1", "BACKTRACK")).estimate == pytest.approx(8)  # round(10 * 0.85)
    found = backtrack_claims(records + more)
    assert all(claim.verdict.holds for claim in found if claim.where.startswith("noisy-walk"))
    assert all(claim.verdict.holds is None for claim in backtrack_claims(records[:1]))
    text = write_backtracks(records + more, "laptop", tmp_path).read_text()
    assert "| noisy-walk | 316 | 158 [158, 158] |" in text
    assert "recoveries.svg" in text and "PointPush1-seed0/CPO" in text  # which has not been run
