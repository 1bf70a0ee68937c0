"""LOOP beside MBPO, and LOOP's analyses."""

import pytest

from surefoot.experiments import SCALES, Cell, loop_ablations, loop_benchmark, loop_mbpo
from surefoot.experiments.identity import digests
from surefoot.experiments.loop_ablations import AUGMENTED, COMPARED, GAINS, HORIZONS, WHOLE, horizon
from surefoot.experiments.loop_ablations_page import chance, claims, method_of, write
from surefoot.experiments.loop_benchmark import TASKS
from surefoot.experiments.loop_mbpo_page import claims as mbpo_claims
from surefoot.experiments.loop_mbpo_page import write as write_mbpo
from surefoot.experiments.worker import tuples

ALL = {"mbpo": loop_mbpo, "ablations": loop_ablations}


def learner(cell: Cell):
    from surefoot.algorithms import algorithm

    return algorithm(cell.algorithm)(**tuples(cell.options))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ALL)
def test_cells_are_well_formed(name, scale):
    made = ALL[name].cells(scale)
    names = [cell.name for cell in made]
    assert len(set(names)) == len(names)
    for cell in made:
        assert Cell.from_dict(cell.as_dict()) == cell
        settings = learner(cell)
        assert settings.warm_up < cell.steps <= settings.replay_capacity
        assert cell.steps % cell.evaluate_every == 0 and cell.evaluate_every % cell.log_every == 0
        for metric in cell.training_metrics:
            if metric.startswith("eval_") and metric != "eval_return":
                assert metric.removeprefix("eval_").removesuffix("_return") in settings.also_evaluated


def test_mbpo_has_the_settings_of_its_program():
    paper = {cell.name: cell for cell in loop_mbpo.cells("paper")}
    updates = {"InvertedPendulum": 10, "HalfCheetah": 40, "Hopper": 20, "Walker2d": 20}
    lengths = {"InvertedPendulum": 1, "HalfCheetah": 1, "Hopper": 15, "Walker2d": 1}
    for task in TASKS:
        cell = paper[f"{task}-seed0/MBPO"]
        settings = learner(cell)
        assert settings.updates_per_step == updates[task] and settings.longest == lengths[task]
        assert (settings.members, settings.model_elites, settings.real_share) == (7, 5, 0.05)
        assert settings.warm_up == (500 if task == "InvertedPendulum" else 5_000)
        other = paper[f"{task}-seed0/LOOP-SAC"]
        assert learner(other).off_policy == "sac" and other.steps == cell.steps
        assert other.evaluate_every == cell.evaluate_every and other.seeds == cell.seeds
        matched = paper[f"{task}-seed0/LOOP-SAC,-as-many-updates"]
        assert matched.options == other.options | {"updates_per_step": updates[task]}


def test_the_benchmarks_cells_are_taken_over():
    known = {}
    for scale in SCALES:
        ours = {cell.name: digests(cell, known)[0] for cell in loop_benchmark.cells(scale)}
        shared = [cell for cell in loop_ablations.cells(scale) if cell.name in ours]
        assert {cell.method for cell in shared} == {"LOOP", "without CEM-AG"}
        assert all(digests(cell, known)[0] == ours[cell.name] for cell in shared)
        assert not ours.keys() & {cell.name for cell in loop_mbpo.cells(scale)}  # of other lengths


def test_every_horizon_is_run_once():
    laptop = {cell.name: cell for cell in loop_ablations.cells("laptop")}
    for task in TASKS:
        planned = [laptop[f"{task}-seed0/{method_of(task, h)}"] for h in HORIZONS]
        assert [learner(cell).plan_horizon for cell in planned] == [3, 5, 7]
        rest = [{k: v for k, v in c.options.items() if k != "plan_horizon"} for c in planned]
        assert rest[0] == rest[1] == rest[2]
    assert laptop["Hopper-seed0/compared"].options["compare_planners"] is True
    assert "InvertedPendulum-seed0/augmented" not in laptop
    assert learner(laptop[f"Hopper-seed0/{WHOLE.replace(' ', '-')}"]).model_max_minibatches == -1


# Claims and pages -----------------------------------------------------------------------------------

VALUES = {
    ("LOOP", "actor_divergence"): 0.4,
    ("without CEM-AG", "actor_divergence"): 0.9,
    ("LOOP", "plan_usage"): 0.5,
    ("LOOP", "eval_actor_return"): 300.0,
    (AUGMENTED, "eval_actor_return"): 500.0,
    ("LOOP", "eval_return"): 1000.0,
    (WHOLE, "eval_return"): 1100.0,
    (WHOLE, "model_minibatches"): 450.0,
    (COMPARED, "gain_over_cem"): 0.1,
    (COMPARED, "gain_over_actor"): 4.0,
    ("MBPO", "eval_greedy_return"): 800.0,
}
"""As the thesis has it; whatever is not here is 700."""


def record_of(cell: Cell) -> dict:
    """A run whose metrics are the same from beginning to end."""
    steps = [cell.steps // 2, cell.steps]
    values = {name: VALUES.get((cell.method, name), 700.0) for name in cell.training_metrics}
    evaluation = values[cell.training_metrics[0]]
    return cell.as_dict() | {
        "metrics": {},
        "per_seed": {"return": [evaluation], "greedy_return": [evaluation]},
        "curves": {name: {"steps": steps, "seeds": [[x, x]]} for name, x in values.items()},
        "command": "surefoot reproduce",
        "versions": {"surefoot": "0.1.0"},
        "cell": cell.name,
        "warnings": [],
    }


def records(experiment, *tasks: str) -> list[dict]:
    """One seed of some tasks."""
    return [record_of(cell) for cell in experiment.cells("laptop") if cell.setting.startswith(tasks)]


def test_claims_of_the_analyses():
    made = records(loop_ablations, "Hopper", "Walker2d")
    found = claims(made)
    # A task: closer, used, two other horizons, augmentation, two of the plans, length of fits.
    assert len(found) == 2 * 8
    assert {str(claim.verdict) for claim in found} == {"met (intervals leave it open)"}
    assert {c.where for c in found if "Figure 2.6" in c.claim} == {
        "Hopper, 5 and 3", "Hopper, 5 and 7", "Walker2d, 3 and 5", "Walker2d, 3 and 7",
    }  # fmt: skip
    for record in made:
        if record["method"] == COMPARED:
            record["curves"]["gain_over_cem"]["seeds"] = [[0.5, 0.5]]  # an eighth of 4
        if record["method"] == "LOOP":
            record["curves"]["plan_usage"]["seeds"] = [[0.1, 0.1]]  # below 20/105
        if record["method"] == WHOLE:
            record["curves"]["eval_return"]["seeds"] = [[1200.0, 1200.0]]  # 1000 is less than nine tenths
    missed = [claim.claim for claim in claims(made) if claim.verdict.holds is False]
    assert len(missed) == 6 and all(any(x in c for x in ("2.7", "2.9", "limit on a fit")) for c in missed)
    assert claims([]) == []


def test_usage_by_chance_is_the_share_of_elites():
    assert chance([]) == pytest.approx(20 / 105)
    (loop, *_) = (r for r in records(loop_ablations, "Hopper") if r["method"] == "LOOP")
    loop["options"] |= {"population": 30, "elites": 8, "actor_sequences": 10}
    assert chance([loop]) == pytest.approx(0.2)


def test_page_of_the_analyses(tmp_path):
    text = write(records(loop_ablations, "Hopper"), "laptop", tmp_path).read_text()
    assert "| Hopper | 0.400 | 0.900 | 30000 | 1 |" in text
    assert "| Hopper | 700 | 1000 | 700 | 30000 | 1 |" in text  # H = 5 is LOOP itself
    assert "| Hopper | 0.100 | 4.000 | 15000 | 1 |" in text
    assert "| Hopper | 1000 | 1100 | 30000 | 1 |" in text and "| Hopper | 450 | 30000 | 1 |" in text
    assert "| Walker2d | not run | not run | not run | no | 0 |" in text
    assert "| InvertedPendulum | not run | - | no | 0 |" in text  # no augmentation there
    for name in ("divergence", "horizon", "usage", "augmentation", *GAINS, "fits"):
        assert f"loop-ablations/{name}.svg" in text and (tmp_path / f"loop-ablations/{name}.svg").exists()
    assert "by chance" in (tmp_path / "loop-ablations/usage.svg").read_text()
    assert f"`Walker2d-seed0/{horizon(7)}`" in text.partition("have not been run")[2]
    assert ".svg" not in write([], "laptop", tmp_path / "none").read_text()


def test_claims_and_page_of_mbpo(tmp_path):
    made = sorted(records(loop_mbpo, "Hopper"), key=lambda record: record["method"] != "MBPO")
    found = mbpo_claims(made)  # 700 and 800
    assert [claim.verdict.holds for claim in found] == [True] * 4 + [False]  # more updates: 700 too
    made[0]["curves"]["eval_greedy_return"]["seeds"] = [[1200.0, 1200.0]]  # 700 is less than two thirds
    missed = [claim.claim for claim in mbpo_claims(made)[:4] if not claim.verdict.holds]
    assert missed == ["LOOP-SAC's mean evaluation over the same steps is at least 67 % of MBPO's"]
    text = write_mbpo(made, "laptop", tmp_path).read_text()
    for row in ("| Hopper | 700 | 1200 | 700 | 15000 | 1 |", "| Hopper | 700 | 800 | 700 | 15000 | 1 |"):
        assert row in text
    assert "Here it makes 10." in text
    assert "`model_max_minibatches` of LOOP 200 (in full 2000)" in text
    assert "`model_max_minibatches` of MBPO 200 (in full 10000)" in text
    assert "`updates_per_step` of MBPO and LOOP 10 (in full 20 or 40)" in text
    assert (
        "| HalfCheetah | not run | not run | not run | no | 0 |" in text and "loop-mbpo/returns.svg" in text
    )
