import ast
import dataclasses
import shutil
from pathlib import Path

import pytest

import surefoot
from surefoot.errors import SurefootError
from surefoot.experiments import experiment, identity
from surefoot.experiments.identity import code_digest, context_of, digests, field_defaults
from surefoot.experiments.loop_benchmark import cells as loop_cells
from surefoot.experiments.scopil import cells


def test_digests_follow_what_matters():
    cell = cells("smoke")[1]
    context = {"version": "1", "demonstrations": "d"}
    training, whole = cell.training_digest(context), cell.digest(context)
    assert training != whole

    def changed(**values) -> tuple[bool, bool]:
        other = dataclasses.replace(cell, **values)
        return other.training_digest(context) != training, other.digest(context) != whole

    assert changed(method="another label", published={"return": 1.0}) == (False, False)
    assert changed(episodes=cell.episodes + 1) == (False, True)
    for values in ({"steps": 1}, {"seeds": (7,)}, {"options": {"beta": 0.1}}, {"world": {"envs": 4}}):
        assert changed(**values) == (True, True)
    for values in ({"log_every": 10}, {"evaluate_every": 10}, {"takes": {"start": {"critics": True}}}):
        assert changed(**values) == (True, True)
    assert changed(evaluate_episodes=7) == (False, False)  # without evaluations it means nothing
    watched = dataclasses.replace(cell, evaluate_every=10)
    more = dataclasses.replace(watched, evaluate_episodes=7)
    assert more.training_digest(context) != watched.training_digest(context)
    for other in ({"version": "2", "demonstrations": "d"}, {"version": "1", "demonstrations": "e"}):
        assert cell.training_digest(other) != training


def test_defaults_are_read_from_the_class():
    from surefoot.algorithms.imitation.scopil import Scopil

    read = {
        name: ast.literal_eval(value)
        for name, value in field_defaults("surefoot.algorithms.imitation.scopil", "Scopil").items()
    }
    fields = {field.name: getattr(Scopil(), field.name) for field in dataclasses.fields(Scopil)}
    assert fields.items() <= read.items()


def test_an_option_that_came_later_makes_no_other_cell_until_it_is_used():
    (cell,) = [cell for cell in loop_cells("laptop") if cell.name == "Hopper-seed0/LOOP"]
    defaults = context_of(cell)["learner"]
    assert "plan_precision" not in defaults and "plan_every" in defaults
    used = dataclasses.replace(cell, options={**cell.options, "plan_precision": "bfloat16"})
    assert digests(used)[0] != digests(cell)[0]
    other = ("loop", "plan_precision", "'bfloat16'", lambda options: True)
    with pytest.MonkeyPatch.context() as patch:  # another default than the one of before counts
        patch.setattr(identity, "CAME_LATER", (other,))
        assert digests(cell)[0] != cell.training_digest({**context_of(cell), "learner": defaults})


def test_an_option_may_have_come_later_for_some_cells_only(monkeypatch):
    """The share of demonstrations is nothing to a cell whose expert is a density."""
    known = {}
    every = [c for name in ("firl-density", "firl-benchmark") for c in experiment(name).cells("laptop")]
    plain = (dataclasses.replace(c, demonstrations=None) for c in every if c.algorithm == "firl")
    fitted = {f"{c.name} {c.environment}": c for c in plain}
    now = {name: digests(c, known)[0] for name, c in fitted.items()}
    monkeypatch.setattr(identity, "CAME_LATER", ())
    changed = {name for name, c in fitted.items() if digests(c, {})[0] != now[name]}
    assert changed == {name for name, c in fitted.items() if c.options.get("density")}
    assert 0 < len(changed) < len(fitted)


def test_a_revision_of_code_makes_those_cells_others_that_it_concerns(monkeypatch):
    some = [cell for cell in cells("laptop") if cell.name.startswith("zone+speed")]
    known = {}
    now = {cell.name: digests(cell, known) for cell in some}
    monkeypatch.setattr(identity, "REVISIONS", ())
    before = {cell.name: digests(cell, known) for cell in some}
    others = {name for name in now if now[name] != before[name]}
    assert len(some) > 20
    assert others == {f"zone+speed,beta={beta}/SCOPIL" for beta in ("0", "0.25", "0.75", "1")}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's environments to be changed."""
    shutil.copytree(Path(surefoot.__file__).parent / "envs", tmp_path / "surefoot" / "envs")
    monkeypatch.setattr(identity.surefoot, "__file__", str(tmp_path / "surefoot" / "__init__.py"))
    code_digest.cache_clear()
    yield tmp_path / "surefoot" / "envs"
    code_digest.cache_clear()


def test_code_counts_and_words_do_not(package):
    def digest() -> str:
        code_digest.cache_clear()
        return code_digest("surefoot.envs.marble_maze")

    def change(file: str, old: str, new: str) -> None:
        text = (package / file).read_text()
        assert old in text
        (package / file).write_text(text.replace(old, new, 1))

    first = digest()
    change("marble_maze.py", "from __future__", "# a remark\nfrom __future__")
    change("marble_maze_board.py", '"""Geometry', '"""The geometry')
    assert digest() == first
    change("marble_maze_view.py", "from __future__", "import os\nfrom __future__")
    assert digest() == first  # pictures are not imported by the environment
    change("marble_maze_board.py", "BALL_RADIUS = 8.0", "BALL_RADIUS = 9.0")
    assert digest() != first


def test_context():
    by_name = {cell.name: cell for cell in cells("smoke")}
    sac, bc, expert = (context_of(by_name[f"zone/{m}"]) for m in ("SAC", "BC", "Expert"))
    assert sac["demonstrations"] is None and len(bc["demonstrations"]) == 64
    assert sac["environment"] == bc["environment"] == expert["environment"]
    assert sac["learner"]["discount"] == "0.99" and isinstance(expert["learner"], str)
    assert digests(by_name["zone/SAC"]) != digests(by_name["zone+speed/SAC"])
    wrong = dataclasses.replace(by_name["zone/SAC"], algorithm="scopl")
    with pytest.raises(SurefootError, match="Did you mean 'scopil'"):
        context_of(wrong)
