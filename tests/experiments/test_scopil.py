import dataclasses
import math
from functools import cache
from importlib import import_module

import pytest

from surefoot.data import demonstrations
from surefoot.errors import SurefootError
from surefoot.experiments import ABOUT, EXPERIMENTS, SCALES, Cell, experiment, matches
from surefoot.experiments.scopil import DEFAULTS, FAITHFUL, SENSITIVITY, cells
from surefoot.experiments.worker import tuples


def test_every_experiment_has_a_line_and_loads():
    assert ABOUT.keys() == EXPERIMENTS.keys()
    for name in EXPERIMENTS:
        found = experiment(name)
        assert found.name == name
        for path in (found.claims, found.page):
            module, _, function = path.partition(":")
            assert callable(getattr(import_module(f"surefoot.experiments.{module}"), function))


@pytest.mark.parametrize("scale", SCALES)
def test_names_are_unique_and_plain(scale):
    names = [cell.name for cell in cells(scale)]
    assert len(set(names)) == len(names)
    assert all(name.count("/") == 1 and not set(name) & set(" *?[]:\\") for name in names)


@pytest.mark.parametrize("scale", SCALES)
def test_cells_are_well_formed(scale):
    from surefoot.algorithms import algorithm

    for cell in cells(scale):
        json_like = cell.as_dict()
        again = dataclasses.replace(cell, options=json_like["options"], world=json_like["world"])
        assert Cell.from_dict(json_like) == again, cell.name
        assert cell.seeds and cell.episodes > 0, cell.name
        if cell.trains:
            learner = algorithm(cell.algorithm)(**tuples(cell.options))  # accepts the options
            assert (cell.demonstrations is not None) == learner.needs_demonstrations, cell.name
            assert cell.steps >= learner.steps_per_iteration, cell.name
            assert getattr(learner, "warm_up", 0) < cell.steps, cell.name
        if cell.demonstrations is not None:
            assert cell.demonstrations in demonstrations.bundled(), cell.name


def test_demonstrations_were_collected_under_the_constraints_of_the_cell():
    load = cache(demonstrations.load)
    for cell in cells("laptop"):
        if cell.demonstrations is not None:
            demos = load(cell.demonstrations)
            assert demos.metadata["environment"]["options"]["board"] == cell.world["board"], cell.name
            assert list(demos.constraints) == list(cell.world["constraints"]), cell.name


def test_worlds_accept_their_options():
    import surefoot as sf

    for world in {str(dict(cell.world)): cell.world for cell in cells("laptop")}.values():
        assert sf.make("MarbleMaze-v0", **tuples(world)).task.constraints == tuple(world["constraints"])


def test_what_the_experiment_must_contain():
    laptop = {cell.name: cell for cell in cells("laptop")}
    methods = ("Expert", "SAC", "BC", "ICRL", "SCOPIL", "S-EiC", "S-DGD", "S-DGD-EiC")
    settings = ("zone", "speed", "zone+speed", "zone+speed+tilt+contact")
    for setting in settings:
        for method in methods:
            cell = laptop[f"{setting}/{method}"]
            assert cell.world["constraints"] == setting.split("+")
            assert len(cell.seeds) == (5 if cell.trains else 1)
    assert {name for name in laptop if name.startswith("two-modes/")} == {
        "two-modes/SAC",
        "two-modes/BC",
        "two-modes/SCOPIL",
    }
    betas = {c.options.get("beta", 0.5) for c in laptop.values() if ",beta=" in c.name} | {0.5}
    assert betas == {0, 0.25, 0.5, 0.75, 1}
    for flaw in ("suboptimal", "partial", "noisy"):
        assert laptop[f"zone+speed,{flaw}/SCOPIL"].demonstrations == f"marble-maze/{flaw}"
    assert all(len(c.seeds) > 1 for c in laptop.values() if c.trains)
    assert laptop["zone+speed,faithful/SCOPIL"].options == {**FAITHFUL}
    assert laptop["zone/S-DGD-EiC"].options["learn_lambda"] is False
    assert laptop["zone/S-DGD-EiC"].options["entropy_in_constraint"] is False


def test_the_usual_values_are_those_of_scopil():
    from surefoot.algorithms.imitation.scopil import Scopil

    assert {name: getattr(Scopil(), name) for name in DEFAULTS} == DEFAULTS
    assert {option for option, _ in SENSITIVITY.values()} == DEFAULTS.keys()
    # About 0.4 nats, as a share of the entropy of nine equally likely actions.
    assert DEFAULTS["target_entropy_ratio"] == pytest.approx(0.4 / math.log(9), rel=0.02)


def test_scales_grow():
    sizes = [sum(cell.steps * len(cell.seeds) for cell in cells(scale)) for scale in SCALES]
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes)


def test_patterns():
    scopil = experiment("scopil")
    assert {c.method for c in scopil.at("laptop", ("zone+speed/*",))} >= {"SAC", "SCOPIL", "Expert"}
    assert all(c.setting == "zone+speed" for c in scopil.at("laptop", ("zone+speed/*",)))
    assert len(scopil.at("laptop", ("*/bc",))) == 8
    assert len(scopil.at("laptop", ("zone/SAC", "zone/*"))) == 8  # none twice
    assert matches(scopil.at("laptop")[0], "ZONE/expert")


def test_what_does_not_exist_is_named_with_the_nearest():
    with pytest.raises(SurefootError, match="Did you mean 'scopil'"):
        experiment("scopl")
    scopil = experiment("scopil")
    with pytest.raises(SurefootError, match="Did you mean 'laptop'"):
        scopil.at("labtop")
    with pytest.raises(SurefootError, match="Did you mean 'zone/SCOPIL'"):
        scopil.at("laptop", ("zone/SCOPLI",))
    with pytest.raises(SurefootError, match="matches 'zona"):
        scopil.at("laptop", ("zona/*",))
