import numpy as np
import pytest

from surefoot.experiments import SCALES, Cell, firl_prior
from surefoot.experiments.firl_prior import NO_PRIOR, STEPS, SWEEP, cells, setting
from surefoot.experiments.firl_prior_page import CELLS, claims, correlation, places, write
from surefoot.experiments.results import Records
from surefoot.experiments.worker import tuples


@pytest.mark.parametrize("scale", SCALES)
def test_cells_are_well_formed(scale):
    import surefoot as sf
    from surefoot.algorithms import algorithm

    made = cells(scale)
    names = [cell.name for cell in made]
    assert len(set(names)) == len(names)
    for cell in made:
        assert Cell.from_dict(cell.as_dict()).name == cell.name
        learner = algorithm(cell.algorithm)(**tuples(cell.options))
        assert cell.steps % learner.steps_per_iteration == 0
        each = getattr(learner, "steps_per_round", learner.steps_per_iteration)
        assert each % cell.world["envs"] == 0
        if cell.source is not None:
            assert cell.source in made and names.index(cell.source.name) < names.index(cell.name)
            assert cell.takes["prior"]["seed"] in cell.source.seeds
            assert cell.takes["prior"]["discount"] == learner.discount
    world = sf.make("PointMass-v0", **made[-1].world)
    assert world.task.reports_success and world.task.observation.high == (6.0, 6.0)


def test_what_the_experiment_must_contain():
    paper = {cell.name: cell for cell in cells("paper")}
    assert len(paper) == 4 + 7 * (1 + 7 * 4)
    assert SWEEP == (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    assert paper["reward/FKL-f-IRL"].steps == 800 * 900
    for cell in cells("laptop"):
        plain = cell.method == NO_PRIOR
        assert (cell.source is None) == (plain or cell.setting == "reward")
        if cell.group == "grid":
            assert cell.steps == STEPS and cell.setting.endswith("w=0") == plain


def number(middle: float, half: float = 0.1) -> dict:
    return {"estimate": middle, "lower": middle - half, "upper": middle + half, "n": 300}


@pytest.fixture
def records() -> list[dict]:
    """Numbers as the paper describes its own: nothing without a prior, the goal with one."""
    made = []
    for cell in cells("laptop"):
        reward = cell.setting == "reward"
        value = 0.2 if cell.method == NO_PRIOR else 20.0
        numbers = {"forward_kl": 0.3, "reverse_kl": 0.4} if reward else {"return": value, "success": 0.5}
        made.append(
            {
                "method": cell.method,
                "environment": cell.environment,
                "setting": cell.setting,
                "steps": cell.steps,
                "seeds": list(cell.seeds),
                "metrics": {name: number(middle) for name, middle in numbers.items()},
                "command": "surefoot reproduce firl-prior --scale laptop",
                "versions": {"surefoot": "0.1.0"},
                "cell": cell.name,
                "group": cell.group,
                "options": dict(cell.options),
                "takes": dict(cell.takes),
                "warnings": [],
            }
        )
    return made


def test_claims(records):
    alphas = {cell.options["alpha"] for cell in cells("laptop") if cell.group == "grid"}
    assert [str(claim.verdict) for claim in claims(records)] == ["met"] * 3 * len(alphas)
    table = Records(records)
    alpha = max(alphas)
    table.get(setting(alpha, 0.0), NO_PRIOR)["metrics"]["return"] = number(21.0)  # type: ignore[index]
    missed = [claim for claim in claims(records) if not claim.verdict.holds]
    assert len(missed) == 1 + len(firl_prior.SCALES["laptop"].priors)
    assert all(claim.where == f"alpha = {alpha:g}" for claim in missed)
    few = [r for r in records if r["setting"] == "reward" or r["method"] == NO_PRIOR]
    assert {claim.verdict.holds for claim in claims(few) if "as prior" in claim.claim} == {None}
    assert claims([]) == []


def test_page(records, tmp_path):
    path = write(records, "laptop", tmp_path, tmp_path / "no-runs")
    text = path.read_text()
    assert "| 0.05 | 0.20 [0.10, 0.30] | 20.00 [19.90, 20.10] |" in text
    assert "| FKL f-IRL | 0.30 [0.20, 0.40] | 0.40 [0.30, 0.50] | 60,000 | 2 |" in text
    svg = (tmp_path / "firl-prior/return.svg").read_text()
    assert svg.count("20.0") >= 2 * 4 * 3 and "temperature alpha" in svg
    assert "rewards.svg" not in text  # there are no runs to read them from


def test_correlation_with_the_distance_from_the_start():
    at = places()
    assert at.shape == (CELLS, CELLS, 2)
    np.testing.assert_allclose(at[0, -1], [5.97, 0.03], atol=1e-6)  # x runs along the second axis
    distance = np.hypot(at[..., 0], at[..., 1])
    assert correlation(np.sqrt(distance)) == pytest.approx(1.0)
    assert correlation(-distance) == pytest.approx(-1.0)
    assert abs(correlation(np.random.default_rng(0).random((CELLS, CELLS)))) < 0.05
