"""LBPO's settings, one changed at a time."""

import jax.numpy as jnp
import pytest

from surefoot.experiments import SCALES, Cell, lbpo_benchmark
from surefoot.experiments.identity import digests
from surefoot.experiments.lbpo_ablations import BASE, DESCENT, PROGRAM, TASK, cells, variants
from surefoot.experiments.lbpo_ablations_page import GROUPS, claims, write
from surefoot.experiments.lbpo_benchmark import START
from surefoot.experiments.worker import tuples


def learner(cell: Cell):
    from surefoot.algorithms import algorithm

    return algorithm(cell.algorithm)(**tuples(cell.options))


def by_method(scale: str) -> dict[str, Cell]:
    return {cell.method: cell for cell in cells(scale) if cell.seeds == (0,)}


@pytest.mark.parametrize("scale", SCALES)
def test_cells_are_well_formed(scale):
    made = cells(scale)
    names = [cell.name for cell in made]
    assert len(set(names)) == len(names)
    for cell in made:
        assert Cell.from_dict(cell.as_dict()) == cell
        settings = learner(cell)
        assert cell.steps % settings.steps_per_iteration == 0
        assert cell.log_every == settings.steps_per_iteration
        assert settings.steps_per_iteration == cell.world["envs"] * cell.world.get("steps", 1000)
        if cell.method != START and not cell.method.startswith(START):
            assert cell.source is not None and names.index(cell.source.name) < names.index(cell.name)
            assert cell.source.seeds == cell.seeds
            form = cell.options.get("critic_action", "raw")
            assert cell.source.options.get("critic_action", "raw") == form or cell.algorithm == "cpo"


@pytest.mark.parametrize("scale", SCALES)
def test_each_is_another_cell_than_the_benchmarks_and_the_benchmarks_are_its_own(scale):
    known = {}
    theirs = {cell.name: digests(cell, known)[0] for cell in lbpo_benchmark.cells(scale)}
    ours = {cell.name: digests(cell, known)[0] for cell in cells(scale)}
    shared = ours.keys() & theirs.keys()
    assert {name.partition("/")[2] for name in shared} == {START, BASE, "CPO"}
    assert all(ours[name] == theirs[name] for name in shared)
    assert len(set(ours.values())) == len(ours)  # no variant changes nothing


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_a_variant_changes_what_it_names_and_nothing_else(scale):
    found = by_method(scale)
    base = vars(learner(found[BASE]))
    for variant in variants(scale):
        cell = found[variant.label]
        here = vars(learner(cell))
        changed = {name: here[name] for name in here if here[name] != base[name]}
        assert changed == dict(variant.options) or variant.label in ("laptop", "trace=0.8, critic_rounds=10")
        for name in variant.label.split(", "):
            option, is_there, value = name.partition("=")
            assert not is_there or str(here[option]) == value
        assert (cell.takes["start"]["critics"] is False) == (variant.label == "fresh critics")
        assert cell.steps == (20_010_000 if "epochs" in variant.label.split() else found[BASE].steps)
        same = ("environment", "seeds", "episodes", "training_metrics")
        assert all(getattr(cell, name) == getattr(found[BASE], name) for name in same)
    assert learner(found[DESCENT]).recovery == "descent" != learner(found["CPO"]).recovery


def test_the_programs_settings_are_the_defaults():
    from surefoot.algorithms.safe.lbpo import Lbpo

    assert {name: getattr(Lbpo(), name) for name in PROGRAM} == PROGRAM
    assert by_method("laptop")["program"].options["beta"] == Lbpo().beta
    assert "program" not in by_method("paper") and "laptop" in by_method("paper")


@pytest.mark.parametrize("scale", ["laptop", "paper"])
@pytest.mark.parametrize("cost", [0.0, 10.0, 20.0])
def test_the_discounted_budget_has_the_same_price(scale, cost):
    from surefoot.algorithms.safe.episodes import Costs
    from surefoot.algorithms.safe.lbpo import budget, prices

    horizon, discount = 1000, 0.99
    evenly = cost / horizon * sum(discount**t for t in range(horizon))  # one cost after the other
    costs = Costs(jnp.array([cost]), jnp.array([evenly]), jnp.array(float(horizon)))
    found = by_method(scale)
    price = []
    for method in (BASE, "budget=discounted"):
        settings = learner(found[method])
        eps = budget(settings.budget, jnp.array([25.0]), costs, discount, horizon)
        price.append(float(prices(settings, eps)[0]))
    assert price[0] == pytest.approx(price[1], rel=1e-3)
    assert price[0] > 0 or cost < 20  # far from the limit the barrier is left out


# Claims and page ------------------------------------------------------------------------------------


def record_of(cell: Cell, unsafe: float, returned: float) -> dict:
    steps = [cell.steps * (i + 1) // 10 for i in range(10)]
    curves = {"unsafe_epochs": [unsafe] * 10, "return": [0.0] * 9 + [returned], "cost/cost": [20.0] * 10}
    return cell.as_dict() | {
        "metrics": {
            name: {"estimate": value, "lower": value, "upper": value, "n": 30}
            for name, value in {"greedy_return": returned + 1, "greedy_cost/cost": 7.5}.items()
        },
        "per_seed": {"unsafe_epochs": [unsafe]},
        "curves": {name: {"steps": steps, "seeds": [values]} for name, values in curves.items()},
        "command": "surefoot reproduce lbpo-ablations --scale laptop",
        "versions": {"surefoot": "0.1.0"},
        "cell": cell.name,
        "warnings": [],
    }


def test_claims_and_page(tmp_path):
    worse = {"exploration=0.05": (0.6, -1.0), "radius=0.05": (0.1, 12.0), DESCENT: (0.5, 9.0)}
    made = [record_of(cell, *worse.get(cell.method, (0.2, 8.0))) for cell in cells("laptop")]
    made = [record for record in made if record["method"] != "barrier=log"]
    made = [r for r in made if r["cell"] != "PointGoal1-seed1/exploration=0.05"]
    found = claims(made)
    known = [variant.label for variant in variants("laptop") if variant.label != "barrier=log"]
    assert [claim.where for claim in found] == [*known, *known, TASK]
    missed = [claim.where for claim in found if not claim.verdict.holds]
    assert missed == ["radius=0.05", "radius=0.05", TASK]  # safer, more return; CPO's is 0.2
    assert not any(claim.verdict.certain for claim in found)  # two seeds
    text = write(made, "laptop", tmp_path).read_text()
    assert "| `LBPO` | 2 | 20.0 % [20.0, 20.0] | 8.0 | 20.0 | 9.0 | 7.5 |" in text
    assert "| `exploration=0.05` | 1 | 60.0 % | -1.0 | 20.0 | 0.0 | 7.5 |" in text
    assert "| `barrier=log` | not run | not run | not run | not run | not run | not run |" in text
    missing = text.partition("have not been run")[2]
    assert "`PointGoal1-seed0/barrier=log`" in missing and "`PointGoal1-seed1/exploration=0.05`" in missing
    for group in GROUPS:
        assert f"lbpo-ablations/{group}.svg" in text and (tmp_path / f"lbpo-ablations/{group}.svg").exists()
    bare = write([], "laptop", tmp_path / "none").read_text()
    assert ".svg" not in bare and "not run" in bare
    assert claims([]) == []
