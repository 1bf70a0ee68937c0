import dataclasses
import math
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from surefoot.evaluation.episodes import EpisodeTable
from surefoot.experiments import SCALES, Cell
from surefoot.experiments.firl_density import METHODS, SETTINGS, STEPS_PER_EPOCH, cells
from surefoot.experiments.firl_density_page import NEAR_ZERO, claims, states, write
from surefoot.experiments.results import Records, read_summary
from surefoot.experiments.runner import run
from surefoot.experiments.worker import tuples
from surefoot.training.metrics import columns

# Cells ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
def test_cells_are_well_formed(scale):
    import surefoot as sf
    from surefoot.algorithms import algorithm

    made = cells(scale)
    names = [cell.name for cell in made]
    assert len(set(names)) == len(names)
    for cell in made:
        json_like = cell.as_dict()
        again = dataclasses.replace(cell, options=json_like["options"], world=json_like["world"])
        assert Cell.from_dict(json_like) == again, cell.name
        learner = algorithm(cell.algorithm)(**tuples(cell.options))
        assert not learner.needs_demonstrations
        # An epoch of every method is the same number of steps, and a round a whole number a world's.
        assert learner.steps_per_iteration == STEPS_PER_EPOCH
        assert STEPS_PER_EPOCH % learner.steps_per_round == 0
        assert learner.steps_per_round % cell.world["envs"] == 0
        assert cell.steps % STEPS_PER_EPOCH == 0
        task = sf.make(cell.environment, **tuples(cell.world)).task
        assert task.name == cell.environment and max(learner.state_indices) < task.observation.size


def test_what_the_experiment_must_contain():
    laptop = {cell.name: cell for cell in cells("laptop")}
    assert len(laptop) == 3 * 8
    for setting in ("reacher-gaussian", "reacher-mixture", "point-mass"):
        for method in (
            "FKL-f-IRL",
            "RKL-f-IRL",
            "JS-f-IRL",
            "MaxEnt-IRL",
            "f-MAX-RKL",
            "GAIL",
            "FAIRL",
            "SMM",
        ):
            cell = laptop[f"{setting}/{method}"]
            assert len(cell.seeds) == 3
            assert cell.training_metrics == ("forward_kl", "reverse_kl")
    assert all(cell.steps == 800 * 300 for cell in cells("paper"))
    # Only the divergence tells the three forms of f-IRL apart.
    forms = [laptop[f"point-mass/{name}-f-IRL"].options for name in ("FKL", "RKL", "JS")]
    assert [form["divergence"] for form in forms] == ["fkl", "rkl", "js"]
    assert len({str({k: v for k, v in form.items() if k != "divergence"}) for form in forms}) == 1


def test_metrics_of_the_training_count_as_part_of_a_cell():
    cell = cells("smoke")[0]
    context = {"version": "1"}
    without = dataclasses.replace(cell, training_metrics=())
    assert without.training_digest(context) == cell.training_digest(context)
    assert without.digest(context) != cell.digest(context)
    # What a cell without any had as its digest before there were any: 0.1.0 made this one.
    old = Cell("BC", "bc", "zone", steps=150, seeds=(0, 3), episodes=3)
    assert old.digest({}) == "7b32935c0f3e18e69ca758ead7a7f6b782995e34e76c71ebdef90fa5c5e0e753"


# Claims and page ------------------------------------------------------------------------------------


def number(middle: float, half: float = 0.01) -> dict:
    return {"estimate": middle, "lower": middle - half, "upper": middle + half, "n": 3}


@pytest.fixture
def records() -> list[dict]:
    """Numbers as the paper describes its own."""
    made = []
    for cell in cells("laptop"):
        dot = cell.setting == "point-mass"
        forward = 0.1 if dot else 0.4 if cell.method == "FKL f-IRL" else 0.6
        reverse = 0.1 if dot else 0.5 if cell.method == "JS f-IRL" else 0.8
        ends = {"forward_kl": forward, "reverse_kl": reverse}
        made.append(
            {
                "method": cell.method,
                "environment": cell.environment,
                "setting": cell.setting,
                "steps": cell.steps,
                "seeds": list(cell.seeds),
                "metrics": {name: number(end) for name, end in ends.items()},
                "command": "surefoot reproduce firl-density --scale laptop",
                "versions": {"surefoot": "0.1.0"},
                "cell": cell.name,
                "group": cell.group,
                "algorithm": cell.algorithm,
                "options": dict(cell.options),
                "warnings": [],
                "curves": {
                    name: {"steps": [300, 600], "seeds": [[3.0, end], [5.0, end], [7.0, end]]}
                    for name, end in ends.items()
                },
            }
        )
    return made


def change(records, setting, method, **values):
    record = Records(records).get(setting, method)
    assert record is not None
    record["metrics"].update(values)


def found(records, claim, where):
    (one,) = [c for c in claims(records) if claim in c.claim and c.where == where]
    return one


def test_all_claims_are_met_by_numbers_that_meet_them(records):
    assert {str(claim.verdict) for claim in claims(records)} == {"met"}
    assert len(claims(records)) == 2 + 2 + 6


def test_each_claim_can_fail(records):
    change(records, "reacher-gaussian", "GAIL", forward_kl=number(0.3), reverse_kl=number(0.495))
    forward = found(records, "FKL f-IRL has the lowest", "reacher-gaussian")
    assert str(forward.verdict) == "not met" and "lowest of the others: GAIL 0.300" in forward.ours
    reverse = found(records, "JS f-IRL has the lowest", "reacher-gaussian")
    assert str(reverse.verdict) == "not met (intervals leave it open)"
    assert str(found(records, "FKL f-IRL has the lowest", "reacher-mixture").verdict) == "met"
    change(records, "point-mass", "GAIL", reverse_kl=number(NEAR_ZERO + 0.1))
    assert str(found(records, "near zero", "point-mass, GAIL").verdict) == "not met"
    assert str(found(records, "near zero", "point-mass, RKL f-IRL").verdict) == "met"


def test_near_zero_is_what_is_said_of_it():
    # KL of two Gaussians with unit variance is half the squared distance of their means.
    assert pytest.approx(NEAR_ZERO, rel=0.02) == 0.63**2 / 2


def test_missing_cells_are_said_to_be_missing(records):
    rest = [r for r in records if r["method"] in ("FKL f-IRL", "RKL f-IRL") and "reacher" in r["setting"]]
    one = found(rest, "FKL f-IRL has the lowest", "reacher-mixture")
    assert one.verdict.holds and "not measured: JS f-IRL, MaxEnt IRL, f-MAX-RKL, GAIL" in one.ours
    assert found(rest, "JS f-IRL has the lowest", "reacher-mixture").verdict.holds is None
    alone = [r for r in rest if r["method"] == "FKL f-IRL"]
    assert found(alone, "FKL f-IRL has the lowest", "reacher-mixture").verdict.holds is None


def test_page(records, tmp_path):
    path = write(records, "laptop", tmp_path)
    text = path.read_text()
    assert path == tmp_path / "firl-density.md"
    for setting in SETTINGS:
        section = text.partition(f"### {setting}\n")[2].partition("\n#")[0]
        for method in METHODS:
            assert f"| {method} |" in section
        assert "| 5.00 | 5.00 |" in section  # means over seeds at the start
    assert "| 0.400 [0.390, 0.410] |" in text
    assert "The arm: FKL f-IRL has the lowest forward KL of all methods | 2 of 2 |" in text
    assert re.findall(r"!\[.*?\]\((.*?)\)", text) == ["firl-density/curves.svg"]  # no runs, no states
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}) == 1
    again = write(records, "laptop", tmp_path / "again")
    assert again.read_text() == text
    curves = [tmp_path / "firl-density/curves.svg", tmp_path / "again/firl-density/curves.svg"]
    assert curves[0].read_bytes() == curves[1].read_bytes()


def test_page_of_half_an_experiment(records, tmp_path):
    text = write(records[:2], "laptop", tmp_path).read_text()
    assert "Cells that have not been run" in text and "`point-mass/GAIL`" in text
    assert "### reacher-mixture" not in text


def test_page_shows_where_agents_go(records, tmp_path):
    shape = (2, 3)  # seeds, episodes
    paths = np.arange(2 * 3 * 5 * 9, dtype=float).reshape(2, 3, 5, 9)
    table = EpisodeTable(
        returns=np.zeros(shape),
        lengths=np.full(shape, 4),
        success=np.zeros(shape, bool),
        violating_steps_any=np.zeros(shape, int),
        costs=np.zeros((*shape, 0)),
        violating_steps=np.zeros((*shape, 0), int),
        paths=paths,
        path_violations=np.zeros((*shape, 4, 0), bool),
    )
    place = tmp_path / "runs" / "reacher-mixture" / "JS-f-IRL"
    place.mkdir(parents=True)
    arrays: dict[str, Any] = table.arrays()
    np.savez_compressed(place / "rollouts.npz", **arrays)
    positions = states(place, SETTINGS["reacher-mixture"])
    assert positions is not None and positions.shape == (2, 3 * 4, 2)
    np.testing.assert_array_equal(positions[1, 0], paths[1, 0, 1, :2])  # the start is left out
    assert states(tmp_path, SETTINGS["reacher-mixture"]) is None
    records = [record for record in records if record["setting"] == "reacher-mixture"]
    text = write(records, "laptop", tmp_path, tmp_path / "runs").read_text()
    assert "firl-density/states.svg" in text
    picture = tmp_path / "firl-density/states.svg"
    assert picture.read_text().startswith("<?xml")
    picture.write_text("of more methods")  # is not replaced by a part of it
    write(records, "laptop", tmp_path, tmp_path / "runs")
    assert picture.read_text() == "of more methods"
    one = [r for r in records if (r["setting"], r["method"]) == ("reacher-mixture", "JS f-IRL")]
    write(one, "laptop", tmp_path, tmp_path / "runs")
    assert picture.read_text().startswith("<?xml")


def test_pages_need_no_jax():
    code = (
        "import sys\nimport surefoot.experiments.firl_density_page as page\n"
        "page.claims([])\nassert 'jax' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# A real cell ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_cell_without_reward_costs_and_success(tmp_path, monkeypatch):
    from surefoot.experiments import Experiment

    monkeypatch.chdir(tmp_path)
    small = {"hidden": [8], "batch_size": 8, "trajectories": 4, "expert_samples": 50}
    small |= {"updates_per_step": 0.1, "warm_up": 300}
    (cell,) = (c for c in cells("smoke") if c.name == "point-mass/FKL-f-IRL")
    cell = dataclasses.replace(cell, options={**cell.options, **small}, steps=12 * STEPS_PER_EPOCH)
    real = Experiment("real", "", lambda scale: (cell,), claims="", page="")
    outcome = run(real, "smoke", progress=False)
    assert not outcome.failed
    (record,) = read_summary(outcome.summary)
    assert set(record["metrics"]) == {"return", "greedy_return", "forward_kl", "reverse_kl"}
    logged = columns(tmp_path / "runs/reproduce/real/smoke" / cell.name / "metrics.csv")
    assert len(logged["seed"]) == 12 * len(cell.seeds)
    # Two of twelve rows are the last tenth, rounded up.
    last = [np.mean(logged["forward_kl"][logged["seed"] == seed][-2:]) for seed in cell.seeds]
    assert record["per_seed"]["forward_kl"] == pytest.approx(last, abs=1e-6)
    assert record["metrics"]["forward_kl"]["estimate"] == pytest.approx(np.mean(last))
    assert record["metrics"]["forward_kl"]["n"] == len(cell.seeds)
    curve = record["curves"]["reverse_kl"]
    assert curve["steps"] == [STEPS_PER_EPOCH * (i + 1) for i in range(12)]
    assert all(math.isfinite(x) for row in curve["seeds"] for x in row)
