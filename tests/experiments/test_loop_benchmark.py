import numpy as np
import pytest

from surefoot.experiments import SCALES, Cell
from surefoot.experiments.loop_benchmark import METHODS, REFERENCE, TASKS, cells, logged
from surefoot.experiments.loop_benchmark_page import Runs, areas, claims, write
from surefoot.experiments.worker import tuples

LEVELS = {"LOOP": 1000.0, "TD3": 600.0, "only CEM": 100.0, "random Q": 200.0, "without CEM-AG": 240.0}
"""Where each method ends in the records that are made up here: as the thesis has it."""


def learner(cell: Cell):
    from surefoot.algorithms import algorithm

    return algorithm(cell.algorithm)(**tuples(cell.options))


@pytest.mark.parametrize("scale", SCALES)
def test_cells_are_well_formed(scale):
    made = cells(scale)
    names = [cell.name for cell in made]
    assert len(set(names)) == len(names)
    for cell in made:
        assert Cell.from_dict(cell.as_dict()) == cell
        settings = learner(cell)
        assert settings.steps_per_iteration == 1 and cell.world == {"envs": 1}
        assert settings.replay_capacity >= cell.steps  # nothing is forgotten within a run
        assert cell.steps % cell.evaluate_every == 0 and cell.evaluate_every % cell.log_every == 0
        assert settings.warm_up < cell.steps
        evaluated = getattr(settings, "also_evaluated", ())
        for metric in cell.training_metrics:
            if metric.startswith("eval_") and metric != "eval_return":
                assert metric.removeprefix("eval_").removesuffix("_return") in evaluated


def test_what_the_experiment_must_contain():
    laptop = {cell.name: cell for cell in cells("laptop")}
    for task, about in TASKS.items():
        for method in METHODS:
            cell = laptop[f"{task}-seed0/{method.replace(' ', '-')}"]
            assert cell.steps == (30_000 if task == "InvertedPendulum" else 50_000)
            if cell.algorithm == "loop":
                assert learner(cell).plan_horizon == about.plan_horizon
        assert laptop[f"{task}-reference/TD3-1M"].steps == 1_000_000
    assert {task: about.plan_horizon for task, about in TASKS.items()} == {
        "InvertedPendulum": 5, "HalfCheetah": 5, "Hopper": 5, "Walker2d": 3,
    }  # fmt: skip


def test_paper_scale_has_the_settings_of_the_thesis():
    paper = [cell for cell in cells("paper") if cell.group != REFERENCE]
    assert len(paper) == 4 * 5 * 5 and {cell.seeds for cell in paper} == {(s,) for s in range(5)}
    assert {cell.steps for cell in paper} == {30_000, 1_000_000}
    for cell in paper:
        settings = learner(cell)
        if cell.algorithm != "loop":
            continue
        table = (settings.population, settings.elites, settings.particles, settings.smoothing)
        assert table == (100, 20, 4, 0.25) and settings.cem_iterations == 5  # Table 2.2
        model = (settings.members, settings.model_hidden, settings.model_every, settings.model_epochs)
        assert model == (5, (200, 200, 200, 200), 250, 5) and settings.off_policy == "td3"  # Table 2.1
        assert settings.sequences == (5 if cell.method == "LOOP" else 0)
        wanted = {"only CEM": "none", "random Q": "random"}.get(cell.method, "learned")
        assert settings.terminal == wanted
    assert [c.name for c in cells("paper") if c.group == REFERENCE] == ["InvertedPendulum-reference/TD3-1M"]


# Numbers --------------------------------------------------------------------------------------------


def record_of(cell: Cell, level: float) -> dict:
    """A run that rises evenly from 0 to ``level``, evaluated at every second of ten rows."""
    steps = [cell.steps * (i + 1) // 10 for i in range(10)]
    rows = [level * (i + 1) / 10 if i % 2 else None for i in range(10)]
    curves = {name: {"steps": steps, "seeds": [rows]} for name in cell.training_metrics}
    return cell.as_dict() | {
        "metrics": {},
        "per_seed": {"return": [level], "greedy_return": [level]},
        "curves": curves,
        "command": "surefoot reproduce loop-benchmark --scale laptop",
        "versions": {"surefoot": "0.1.0"},
        "cell": cell.name,
        "warnings": [],
    }


@pytest.fixture
def records() -> list[dict]:
    """One seed of two tasks as the thesis has it; the dashed line of one."""
    some = ("Hopper", "Walker2d-seed")
    return [
        record_of(cell, LEVELS.get(cell.method, 900.0))
        for cell in cells("laptop")
        if cell.setting.startswith(some)
    ]


def test_areas_are_those_of_the_trapezoids():
    steps, values = np.array([10, 20, 40]), np.array([[0.0, 2.0, 4.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(areas(steps, values), [(1 * 10 + 3 * 20) / 30, 1.0])
    np.testing.assert_allclose(areas(steps, values, until=30.0), [1.0, 1.0])
    np.testing.assert_allclose(areas(steps, values, until=10.0), [0.0, 1.0])


def test_curves_are_compared_over_the_same_steps(records):
    table = Runs(records)
    assert table.tasks() == ["Hopper", "Walker2d"]
    steps, values = table.curve("Hopper", "TD3", logged("TD3")[0])
    np.testing.assert_array_equal(steps, [10_000, 20_000, 30_000, 40_000, 50_000])
    np.testing.assert_allclose(values, [[120, 240, 360, 480, 600]])
    assert table.learned("Hopper", "LOOP").estimate == pytest.approx(600)
    (loop,) = table.of("Hopper", "LOOP")
    for curve in loop["curves"].values():  # a run that is shorter
        curve["steps"], curve["seeds"] = curve["steps"][:6], [curve["seeds"][0][:6]]
    assert table.until("Hopper", ("LOOP", "TD3")) == 30_000.0
    assert table.learned("Hopper", "TD3", 30_000.0).estimate == pytest.approx(240)


def test_seeds_are_taken_together():
    made = [
        record_of(cell, LEVELS[cell.method] + 10 * cell.seeds[0])
        for cell in cells("paper")
        if cell.name.startswith("Hopper") and cell.method in ("LOOP", "TD3")
    ]
    table = Runs(made)
    assert table.end("Hopper", "LOOP").n == 5
    assert table.end("Hopper", "LOOP").estimate == pytest.approx(1020)
    assert all(claim.verdict.certain for claim in claims(made) if claim.verdict.holds is not None)


def test_claims(records):
    found = claims(records)
    assert len(found) == 2 * 5 + 1
    assert {str(claim.verdict) for claim in found} == {"met (intervals leave it open)"}  # one seed
    worse = [r | {"per_seed": {"return": [550.0]}} if r["method"] == "LOOP" else r for r in records]
    missed = [claim.claim for claim in claims(worse) if claim.verdict.holds is False]
    assert missed == ["LOOP ends above TD3 after as many steps"] * 2 + [
        "Without CEM-AG Walker2d fails: it ends at 25 % of LOOP's return at most"
    ]
    for record in records:  # a share of a loss says nothing
        record["per_seed"] = {name: [-10.0] for name in record["per_seed"]}
    assert not any(claim.verdict.holds for claim in claims(records) if "at most" in claim.claim)
    few = [record for record in records if record["method"] != "LOOP"]
    assert {claim.verdict.holds for claim in claims(few)} == {None}
    assert claims([]) == []


def test_page_with_gaps(records, tmp_path):
    text = write(records, "laptop", tmp_path).read_text()
    assert "| Hopper | 1000 | 600 | 100 | 200 | 240 | 900 | 50000 | 1 |" in text
    assert "| HalfCheetah | not run | not run |" in text
    assert "`particles` 1 (in full 4)" in text and "1 seed;" in text
    assert "`HalfCheetah-seed0/LOOP`" in text.partition("have not been run")[2]
    svg = (tmp_path / "loop-benchmark/returns.svg").read_text()
    assert "TD3-1M" in svg and "stroke-dasharray" in svg and "Walker2d" in svg
    bare = write([], "laptop", tmp_path / "none").read_text()
    assert "not run" in bare and "returns.svg" not in bare
