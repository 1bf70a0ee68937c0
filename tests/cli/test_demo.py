"""``surefoot demo``, in miniature: everything that it promises is there, and a second call is quick."""

from __future__ import annotations

import json

import pytest

from surefoot.cli import demo
from surefoot.errors import SurefootError

TINY = {"hidden": (4,), "warm_up": 64, "batch_size": 8}
WORDS = ("demo", "--steps", "256", "--seeds", "2", "--episodes", "2", "--out", "out")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(demo, "METHODS", {"scopil": TINY, "discrete-sac": TINY})


def test_trains_both_and_writes_the_page(surefoot, tmp_path, monkeypatch):
    done = surefoot(*WORDS)
    assert done.code == 0
    for step in (
        "[1/4] Train scopil",
        "[2/4] Train discrete-sac",
        "[3/4] Evaluate both",
        "[4/4] Draw the page",
    ):
        assert step in done.out
    summary = done.out.partition("Draw the page")[2]
    assert summary.split()[:2] == ["scopil", "discrete-sac"]
    for metric in ("return", "success", "violating_episodes/zone", "violating_episodes/speed"):
        assert summary.count(f"\n  {metric} ") == 2
    page = tmp_path / "out" / "report.html"
    assert page.resolve().as_uri() in done.out
    text = page.read_text()
    assert "<svg" in text
    assert "data:image/gif;base64," in text
    assert 'src="http' not in text
    assert 'href="http' not in text
    cells = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [cell["method"] for cell in cells] == ["scopil", "discrete-sac"]

    monkeypatch.setattr("surefoot.reports.page.build", lambda runs, out, *words: out)  # seen above

    def saved() -> list[float]:
        return [path.stat().st_mtime for path in sorted((tmp_path / "out").rglob("*.safetensors"))]

    before = saved()
    again = surefoot(*WORDS)
    assert again.code == 0
    assert again.out.count("--fresh trains it again") == 2
    assert again.out.partition("Draw the page")[2].partition("Done")[0] == summary.partition("Done")[0]
    assert saved() == before

    other = surefoot(*WORDS[:-2], "--seeds", "1", "--out", "out")
    assert other.code == 2 and other.err.count("\n") == 1
    assert "out/scopil holds something else" in other.err and "--out" in other.err and "--fresh" in other.err
    assert saved() == before


def test_fresh_replaces_what_is_there_and_only_fresh_does(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("surefoot.training.fit.fit", lambda *_, overwrite, **__: asked.append(overwrite))
    old = tmp_path / "scopil" / "config.json"
    old.parent.mkdir()
    old.write_text("{}")
    demo._trained("scopil", demo.Options(out=tmp_path, fresh=True))
    with pytest.raises(SurefootError, match="something else"):
        demo._trained("scopil", demo.Options(out=tmp_path))
    demo._trained("discrete-sac", demo.Options(out=tmp_path))
    assert asked == [True, False]


def test_what_is_not_a_run_of_the_demo_is_not_touched(surefoot, tmp_path):
    mine = tmp_path / "out" / "scopil" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    done = surefoot(*WORDS, "--fresh")
    assert done.code == 2
    assert "is not a run folder" in done.err
    assert mine.read_text() == "years of work"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "0"], "seeds = 0"),
        (["--episodes", "0"], "episodes = 0"),
        (["--steps", "0"], "steps"),
        (["--stepps", "5"], "Did you mean '--steps'?"),
    ],
)
def test_bad_input_is_one_line(surefoot, words, said):
    done = surefoot("demo", *words)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
