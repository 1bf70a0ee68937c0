"""The page: whole, on its own, true to the numbers; and what is missing is named."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from surefoot.cli.compare import evaluate_missing
from surefoot.errors import SurefootError
from surefoot.evaluation.evaluate import read, texts, write
from surefoot.evaluation.safety import evidence, while_training
from surefoot.reports import page
from surefoot.training.run import Run, write_json

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Reader(HTMLParser):
    """Collects ids, links and text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                self.links.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def two(make_run, tmp_path):
    plain = ("return", "success", "violating_episodes", "alpha")
    return [
        make_run(tmp_path / "sac", "discrete-sac", bad=0.8, columns=plain, demonstrations=None),
        make_run(tmp_path / "scopil", "scopil", warnings={"runaway lambda, seed 0": "lambda <grew>."}),
    ]


def test_the_page_stands_on_its_own(two, tmp_path):
    out = page.build(two, tmp_path / "out" / "report.html", "Title & more", "First.\n\nSecond <b>.")
    text = out.read_text(encoding="utf-8")
    reader = Reader(text)
    assert len(reader.ids) == len(set(reader.ids))
    for link in reader.links:
        assert link.startswith(("#", "data:")), link
        if link.startswith("#"):
            assert link[1:] in reader.ids
    assert not re.search(r"@import|url\((?!#)|<script", text)
    assert "Title & more" in reader.text and "Second <b>." in reader.text
    assert text.count("data:image/gif;base64,") == 2
    for heading in ("Results", "Rollouts", "On the board", "While learning", "Return and safety"):
        assert heading in reader.text
    assert "λ, the weight of the constraint" in reader.text and "α, the weight" in reader.text


def test_the_page_shows_the_numbers_of_the_runs(two, tmp_path):
    out = page.build([run.path for run in two], tmp_path / "report.html", videos=False)
    reader = Reader(out.read_text(encoding="utf-8"))
    for run in two:
        for name, value in read(run.path).metrics.items():
            for shown in texts(name, value):
                assert shown in reader.text, name
        assert run.config["command"] in reader.text
    assert "runaway lambda, seed 0: lambda <grew>." in reader.text
    assert "3 seeds × 12 episodes (n = 36 a number)" in reader.text
    assert "data:image/gif" not in out.read_text(encoding="utf-8")


def test_summary_beside_the_page_holds_the_same(two, tmp_path):
    out = page.build(two, tmp_path / "report.html", videos=False)
    cells = json.loads((out.parent / "summary.json").read_text())
    assert [cell["method"] for cell in cells] == ["discrete-sac", "scopil"]
    for cell, run in zip(cells, two, strict=True):
        assert set(cell) == {
            "method",
            "environment",
            "setting",
            "steps",
            "seeds",
            "metrics",
            "published",
            "command",
            "versions",
        }
        metrics = read(run.path).metrics
        assert cell["metrics"] == {name: value.as_dict() for name, value in metrics.items()}
        assert {"return", "test_success", "test_violating_episodes/speed"} <= set(cell["metrics"])


def test_the_best_of_each_column_is_marked(two):
    methods = page.load(two)
    rows = page._rows(methods, ["return", "violating_episodes"], ["", "test_"])
    for starts in ("train starts", "test starts"):
        prefix = "" if starts == "train starts" else "test_"
        mine = {row["label"]: row["cells"] for row in rows if row["starts"] == starts}
        best = min(methods, key=lambda m: m.evaluation.metrics[f"{prefix}violating_episodes"].estimate)
        marked = [label for label, cells in mine.items() if cells[1]["best"]]
        assert marked == [best.label] == ["scopil"]


def test_methods_keep_their_look_in_every_figure(two, tmp_path):
    methods = page.load(two)
    colours = [m.look.colour for m in methods]
    assert len(set(colours)) == 2
    marks = page._safety(methods)[0]["svg"].lower()
    assert all(colour.lower() in marks for colour in colours)
    for board in page._boards(methods):
        owner = next(m for m in methods if board["label"].startswith(m.label + ","))
        other = next(m for m in methods if m is not owner)
        assert owner.look.colour.lower() in board["svg"].lower()
        assert other.look.colour.lower() not in board["svg"].lower()


def test_a_method_without_environment_steps_is_a_level(make_run, tmp_path):
    bc = make_run(tmp_path / "bc", "bc", columns=("demo_nll",))
    (method,) = page.load([bc])
    (level,) = page._lines([method], "return")
    assert level.value == method.evaluation.metrics["return"]
    assert page._multipliers(method, "lambda") == []


def test_elsewhere_than_on_the_maze_there_is_no_board(make_run, tmp_path):
    world = {"id": "gymnasium:CartPole-v1", "envs": 4, "options": {}}
    run = make_run(tmp_path / "cart", "ppo", world=world, constraints=(), columns=("return",))
    text = Reader(page.build([run], tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "violations cannot be measured" in text
    assert "On the board" not in text and "Rollouts" not in text and "Return and safety" not in text


def test_the_ways_around_the_island_are_shown(make_run, tmp_path):
    run = make_run(tmp_path / "modes", board="island", constraints=("zone",))
    text = Reader(page.build([run], tmp_path / "report.html", videos=False).read_text(encoding="utf-8")).text
    assert "pass the island on the left" in text
    share = read(run.path).metrics["way_left"]
    assert texts("way_left", share)[0] in text


def walk_run(make_run, path: Path, learner: str, shown: bool) -> Run:
    """A run elsewhere than on the maze, with a limit on one cost, evaluated with and without noise."""
    run = make_run(
        path,
        learner,
        world={"id": "NoisyWalk-v0", "envs": 16, "options": {}},
        constraints=("distance",),
        columns=("return", "violating_episodes"),
    )
    lines = run.metrics_path.read_text().splitlines()
    costs = ["cost/distance", *("30.0" if row < 60 else "20.0" for row in range(len(lines) - 1))]
    run.metrics_path.write_text(
        "\n".join(f"{line},{cost}" for line, cost in zip(lines, costs, strict=True)) + "\n"
    )
    old = page.load([run])[0]
    limits = (1000.0 if shown else 0.001,)
    tables = dict.fromkeys(("", "greedy_"), old.tables[""])
    metrics = dict(old.evaluation.metrics)
    metrics |= {f"greedy_{name}": value for name, value in metrics.items()}
    metrics |= while_training(run.metrics(), ("distance",), (25.0,))
    found = [e for prefix, t in tables.items() for e in evidence(t, ("distance",), limits, 100, prefix)]
    write(
        replace(
            old.evaluation, mode="both", metrics=metrics, tables=tables, limits=limits, evidence=tuple(found)
        ),
        run,
    )
    return run


def test_evidence_of_safety_is_shown_where_there_are_limits(make_run, tmp_path):
    runs = [
        walk_run(make_run, tmp_path / "careful", "lbpo", shown=True),
        walk_run(make_run, tmp_path / "careless", "ppo", shown=False),
    ]
    text = page.build(runs, tmp_path / "report.html").read_text()
    Reader(text)
    rows = page._evidence(page.load(runs))
    assert [row["verdict"] for row in rows] == ["below", "above"]
    shown = dict(zip(("limit", "cost", "greedy", "cvar", "unsafe", "excess"), rows[0]["cells"], strict=True))
    assert shown["limit"] == ("1000", "") and shown["unsafe"][0] == "20.0 %" and shown["excess"][0] == "1.00"
    assert shown["cost"][0] == shown["greedy"][0] and shown["cost"][1].startswith("[")
    assert 'id="evidence"' in text and "Return over cost: distance" in text and "Cost: distance" in text
    assert "is above the limit 0.001 with 95 % confidence" in text
    assert "unsafe epochs while training" in text


def test_without_limits_there_is_no_evidence(two, tmp_path):
    assert 'id="evidence"' not in page.build(two, tmp_path / "report.html", videos=False).read_text()


def test_labels_tell_runs_of_one_algorithm_apart(make_run, tmp_path):
    def run(name, learner="scopil", **options):
        return make_run(tmp_path / name, learner, options={"beta": 0.5, **options}, evaluated=False)

    first, second = run("a", beta=0.25), run("b", fixed=True)
    assert page.labels([first, run("sac", "discrete-sac")]) == ["scopil", "discrete-sac"]
    assert page.labels([first, second]) == ["scopil (beta 0.25)", "scopil (beta 0.5, fixed on)"]
    assert page.labels([first, first]) == ["scopil (a) 1", "scopil (a) 2"]
    assert page.labels([first, run("c", beta=0.25)]) == ["scopil (a)", "scopil (c)"]
    many = [run(name, one=i, two=i, three=i, four=i) for i, name in enumerate("xy")]
    assert page.labels(many) == ["scopil (x)", "scopil (y)"]


def test_readers_are_told_what_is_not_alike(make_run, tmp_path):
    one = make_run(tmp_path / "one", "scopil", seeds=1)
    other = make_run(tmp_path / "other", "bc", constraints=("zone",), episodes=9)
    half = make_run(tmp_path / "half", "ppo")
    lines = (half.path / "metrics.csv").read_text().splitlines(keepends=True)
    (half.path / "metrics.csv").write_text("".join(lines[: 1 + 3 * 50]))
    notes = " ".join(page._notes(page.load([one, other, half])))
    assert "different environments or settings" in notes
    assert "different seeds or numbers of episodes" in notes
    assert "One seed says little" in notes
    assert "ppo is not finished: 50,000 of 100,000" in notes
    assert "ppo was evaluated after 100,000 of 50,000" in notes


def test_the_same_warning_of_several_seeds_is_one(make_run, tmp_path):
    seen = {"oscillation, seed 2": "a", "oscillation, seed 0": "a", "oscillation, seed 1": "b"}
    (method,) = page.load([make_run(tmp_path / "one", warnings=seen)])
    assert page._warnings([method]) == [
        ("scopil", "oscillation, seeds 0, 2: a"),
        ("scopil", "oscillation, seed 1: b"),
    ]


def test_what_is_missing_or_damaged_is_named(make_run, two, tmp_path):
    out = tmp_path / "report.html"
    with pytest.raises(SurefootError, match="at least one run"):
        page.build([], out)
    with pytest.raises(SurefootError, match="nowhere"):
        page.build([tmp_path / "nowhere"], out)
    with pytest.raises(SurefootError, match="is a folder"):
        page.build(two, tmp_path)
    raw = make_run(tmp_path / "raw", evaluated=False)
    with pytest.raises(SurefootError, match="surefoot evaluate"):
        page.build([raw], out)
    (two[0].path / "evaluation.json").write_text('{"format": 1, "metrics":')
    with pytest.raises(SurefootError, match=r"evaluation\.json is damaged"):
        page.build(two, out)
    whole = (two[1].path / "rollouts.npz").read_bytes()
    (two[1].path / "rollouts.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SurefootError, match=r"rollouts\.npz is damaged"):
        page.build([two[1]], out)
    assert not out.exists()


def test_a_page_is_replaced_whole_or_not_at_all(two, tmp_path, monkeypatch):
    out = page.build(two, tmp_path / "report.html", videos=False)
    before = out.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(SurefootError, match="No space left"):
        page.build(two, out, "Another", videos=False)
    assert out.read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_compare_writes_the_page(two, surefoot, tmp_path):
    done = surefoot("compare", *(str(run.path) for run in two), "--out", "deep/r.html", "--no-videos")
    assert done.code == 0, done.err
    assert (tmp_path / "deep" / "r.html").exists() and (tmp_path / "deep" / "summary.json").exists()


def test_compare_evaluates_what_is_not_evaluated(make_run, surefoot, tmp_path, monkeypatch):
    asked = []

    def evaluate(run, *, episodes):
        asked.append((run.path.name, episodes))
        make_run(run.path)

    monkeypatch.setattr("surefoot.evaluation.evaluate.evaluate", evaluate)
    done_run = make_run(tmp_path / "done")
    raw = make_run(tmp_path / "raw", evaluated=False)
    further = make_run(tmp_path / "further")
    file = further.path / "evaluation.json"
    write_json(file, json.loads(file.read_text()) | {"steps": 5})
    named = [str(run.path) for run in (done_run, raw, further)]
    done = surefoot("compare", *named, "--episodes", "7", "--no-videos")
    assert done.code == 0, done.err
    assert asked == [("raw", 7), ("further", 7)]
    asked.clear()
    had = read(done_run.path).episodes
    evaluate_missing([done_run], had, exactly=True)
    evaluate_missing([done_run], had + 1, exactly=True)
    assert asked == [("done", had + 1)]


@pytest.mark.parametrize("words", ["compare", "evaluate", "compare nowhere", "evaluate nowhere"])
def test_mistakes_are_one_line(words, surefoot):
    done = surefoot(*words.split())
    assert done.code == 2 and done.err.startswith("error: ") and done.err.count("\n") == 1


def test_a_damaged_evaluation_stops_compare(two, surefoot):
    (two[0].path / "evaluation.json").write_text("{")
    done = surefoot("compare", str(two[0].path))
    assert done.code == 2 and "evaluation.json is damaged" in done.err


def test_paths_on_the_board_are_those_of_the_episodes(two):
    (method,) = page.load([two[1]])
    table = method.tables[""]
    paths = page._paths(method, table)
    assert len(paths) == 36
    first = paths[0]
    assert np.allclose(first.points, (table.path(0, 0)[0][:, :2] + 1) * 240)
    assert np.array_equal(first.violated, table.path(0, 0)[1].any(axis=1))


def test_runs_are_opened_or_taken_as_they_are(two):
    opened = page.load([two[0], str(two[1].path)])
    assert opened[0].run is two[0] and isinstance(opened[1].run, Run)
