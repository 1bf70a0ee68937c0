import math

import numpy as np
import pytest

from surefoot.experiments import SCALES, Cell, lbpo_beta, lbpo_beta_page, lbpo_robustness
from surefoot.experiments.lbpo_beta_page import barrier
from surefoot.experiments.lbpo_robustness import COUNTS, METHODS, NOISE, cells, setting
from surefoot.experiments.lbpo_robustness_page import claims, write
from surefoot.experiments.results import Records
from surefoot.experiments.worker import tuples


@pytest.mark.parametrize("made", [lbpo_robustness.cells, lbpo_beta.cells], ids=["robustness", "beta"])
@pytest.mark.parametrize("scale", SCALES)
def test_cells_are_well_formed(scale, made):
    from surefoot.algorithms import algorithm

    found = made(scale)
    names = [cell.name for cell in found]
    assert len(set(names)) == len(names)
    for cell in found:
        assert Cell.from_dict(cell.as_dict()) == cell
        learner = algorithm(cell.algorithm)(**tuples(cell.options))
        assert cell.steps % learner.steps_per_iteration == 0
        if cell.environment == "NoisyWalk-v0" and cell.source is not None:
            assert cell.log_every == cell.evaluate_every == learner.steps_per_iteration
            assert names.index(cell.source.name) < names.index(cell.name)
            assert cell.source.options["hidden"] == cell.options["hidden"]
            std = getattr(learner, "exploration", None) or 0.2 * learner.initial_std
            assert std == pytest.approx(0.05)  # all explore as much


def test_what_the_experiment_must_contain():
    laptop = {cell.name: cell for cell in cells("laptop")}
    assert len(laptop) == 1 + len(COUNTS) * 4 and set(METHODS) == {"LBPO", NOISE, "CPO", "SDDPG"}
    for count in COUNTS:
        cell = laptop[f"{setting(count)}/LBPO"]
        assert cell.steps == 100 * 10 * count and len(cell.seeds) == 5 and cell.evaluate_episodes == 2000
        assert cell.options["beta"] == 0.005
    searched = {c.options.get("beta") for c in lbpo_beta.cells("paper") if c.environment != "NoisyWalk-v0"}
    assert {0.005, 0.008, 0.01, 0.02} <= searched


def number(middle: float, half: float) -> dict:
    return {"estimate": middle, "lower": middle - half, "upper": middle + half, "n": 5}


def record_of(cell: Cell, metrics: dict[str, float], half: float = 0.01) -> dict:
    rows = [cell.log_every * (i + 1) for i in range(4)] if cell.log_every else []
    return {
        "method": cell.method,
        "environment": cell.environment,
        "setting": cell.setting,
        "steps": cell.steps,
        "seeds": list(cell.seeds),
        "metrics": {name: number(value, half) for name, value in metrics.items()},
        "per_seed": {name: [value] * len(cell.seeds) for name, value in metrics.items()},
        "curves": {
            name: {"steps": rows, "seeds": [[value] * 4 for _ in cell.seeds]}
            for name, value in metrics.items()
        },
        "command": "surefoot reproduce lbpo-robustness --scale laptop",
        "versions": {"surefoot": "0.1.0"},
        "cell": cell.name,
        "group": cell.group,
        "options": dict(cell.options),
        "log_every": cell.log_every,
        "evaluate_episodes": cell.evaluate_episodes,
        "warnings": [],
    }


@pytest.fixture
def records() -> list[dict]:
    """Numbers as the thesis describes its own: LBPO hardly violates, others the more, the fewer samples."""
    made = []
    for cell in cells("laptop"):
        if cell.source is None:
            made.append(record_of(cell, {"cost/distance": 1.4}))
            continue
        count = cell.options["batch_steps"] // 10
        broken = {"LBPO": 0.01, NOISE: 0.005}.get(cell.method, 0.8 - 0.005 * count)
        cost = 1.5 if cell.algorithm == "lbpo" else 2.0
        names = ("unsafe_epochs", "eval_unsafe_epochs")
        costs = {"cost/distance": cost, "eval_cost/distance": cost}
        made.append(record_of(cell, {**dict.fromkeys(names, broken), **costs}))
    return made


def test_claims(records):
    found = claims(records)
    assert len(found) == 3 * 2 * len(COUNTS) + 2 * 2 + 2 * len(COUNTS)
    assert {claim.verdict.holds for claim in found} == {True}
    unsure = [claim for claim in found if str(claim.verdict) != "met"]  # 1 and 0.5 %, each give or take 1
    assert len(unsure) == 2 * len(COUNTS) and all("critics of the noise" in each.claim for each in unsure)
    record = Records(records).get(setting(3), "CPO")
    record["metrics"]["eval_unsafe_epochs"] = number(0.0, 0.0)  # type: ignore[index]
    missed = [claim for claim in claims(records) if not claim.verdict.holds]
    assert [claim.where for claim in missed] == ["3 episodes, fresh episodes"]
    alone = [record for record in records if record["method"] != "SDDPG"]
    assert sum(claim.verdict.holds is None for claim in claims(alone)) == 2 * len(COUNTS) + 2
    assert claims([]) == []


def test_page(records, tmp_path):
    text = write(records, "laptop", tmp_path).read_text()
    assert "which costs 1.40 [1.39, 1.41] an episode" in text
    assert "| episodes an epoch | 1 | 3 | 10 | 30 | 100 |" in text
    assert "| CPO | 79.5 % [78.5, 80.5] | 78.5 % [77.5, 79.5] |" in text
    svg = (tmp_path / "lbpo-robustness/violations.svg").read_text()
    assert "judged by fresh episodes" in svg and "steps an epoch" in svg
    costs = (tmp_path / "lbpo-robustness/costs.svg").read_text()
    assert all(f"{count} episode" in costs for count in (1, 10, 100)) and "#ff0000" in costs
    assert write([], "laptop", tmp_path / "none").exists()


# beta -----------------------------------------------------------------------------------------------


def test_the_barrier_is_that_of_the_thesis():
    rise, small = np.linspace(-0.04, 0.04, 9), 1e-6
    np.testing.assert_allclose(
        barrier(0.005, 0.05, rise),
        [-0.005 * math.log(0.05 - x) + 0.005 * math.log(0.05) for x in rise],
        atol=1e-12,
    )
    slope = (barrier(0.005, 0.05, np.array([small])) - barrier(0.005, 0.05, np.array([-small]))) / (2 * small)
    assert slope[0] == pytest.approx(0.005 / 0.05, rel=1e-4)  # the price
    assert np.isinf(barrier(0.005, 0.05, np.array([0.05, 0.06]))).all()


def test_page_of_beta(tmp_path):
    made = []
    for cell in lbpo_beta.cells("laptop"):
        if "beta" not in cell.options:
            continue
        beta, walk = cell.options["beta"], cell.environment == "NoisyWalk-v0"
        if walk:
            costs = {"eval_cost/distance": lbpo_beta.expected(beta) - beta}
            made.append(record_of(cell, {"eval_unsafe_epochs": 0.1 - beta, **costs}, 1e-4))
        elif beta != 0.01:
            values = {"unsafe_epochs": 0.1, "return": 9.0, "cost/cost": 20 - 100 * beta}
            made.append(record_of(cell, values))
    found = lbpo_beta_page.claims(made)
    assert len(found) == 5 + 1 + 6 + 6 + 3 and {str(claim.verdict) for claim in found} == {"met"}
    text = lbpo_beta_page.write(made, "laptop", tmp_path).read_text()
    assert "| 0.005 | 1.50 | 1.50 [1.49, 1.50] | 1.50 [1.49, 1.50] | 9.5 %" in text
    assert "critics of the noise" in (tmp_path / "lbpo-beta/settled.svg").read_text()
    assert "| 0.02 | 0 | 9.00 [8.99, 9.01] | 18.00 [17.99, 18.01] |" in text
    assert "`PointGoal1-seed0/beta=0.01`" in text.partition("have not been run")[2]
    for name in ("barrier", "walk", "settled", "task"):
        assert f"lbpo-beta/{name}.svg" in text
    made[2]["metrics"]["eval_cost/distance"] = number(1.95, 0.01)  # beta = 0.002 costs more than 0.001
    missed = [claim.where for claim in lbpo_beta_page.claims(made) if not claim.verdict.holds]
    assert missed == ["noisy walk, beta 0.002 and 0.001"]
    (noisy,) = (r for r in made if r["options"] == made[3]["options"] | {"critic_action": "noise"})
    noisy["metrics"]["eval_cost/distance"] = number(1.9, 0.01)
    missed = [claim.claim for claim in lbpo_beta_page.claims(made) if not claim.verdict.holds]
    assert len(missed) == 2 and "with critics of the noise the cost settles" in missed[1]
    bare = lbpo_beta_page.write([], "laptop", tmp_path / "none").read_text()
    assert "lbpo-beta/barrier.svg" in bare and "Not run." in bare
