"""Lists: complete, and quiet about what is not there."""

from __future__ import annotations

import json

from surefoot.algorithms import ALGORITHMS
from surefoot.data.demonstrations import bundled
from surefoot.envs import ENVIRONMENTS
from surefoot.experiments import EXPERIMENTS


def test_each_list_shows_its_table(surefoot):
    for what, names in {
        "algorithms": ALGORITHMS,
        "environments": ENVIRONMENTS,
        "demos": bundled(),
        "experiments": EXPERIMENTS,
    }.items():
        done = surefoot("list", what)
        assert done.code == 0
        shown = [line.split()[0] for line in done.out.splitlines() if line]
        assert shown[: len(names)] == list(names)


def test_all_lists_at_once(surefoot):
    done = surefoot("list")
    assert done.code == 0
    for title in ("algorithms:", "environments:", "demos:", "experiments:", "runs:"):
        assert title in done.out.splitlines()
    assert "none yet" in done.out


def test_runs_are_found_with_their_state(surefoot, tmp_path):
    folder = tmp_path / "runs" / "deep" / "mine"
    folder.mkdir(parents=True)
    config = {
        **{"format": 1, "learner": {"name": "bc", "options": {}}, "seeds": [0, 1], "steps": 5000},
        **{"world": {"id": "MarbleMaze-v0", "envs": 1, "options": {}}, "iterations": 10},
    }
    (folder / "config.json").write_text(json.dumps(config))
    done = surefoot("list", "runs")
    assert " ".join(done.out.split()) == "runs/deep/mine bc MarbleMaze-v0 2 seeds 0 of 5,000 steps"
    (folder / "config.json").write_text("{")
    done = surefoot("list", "runs")
    assert done.code == 0
    assert "config.json" in done.err
    assert done.err.count("\n") == 1


def test_bad_words(surefoot):
    for words, said in {
        ("algorithm",): "Did you mean 'algorithms'?",
        ("algorithms", "x"): "'x' is one argument too many.",
        ("runs", "nowhere"): "There is no folder 'nowhere'.",
    }.items():
        done = surefoot("list", *words)
        assert done.code == 2
        assert said in done.err
        assert done.err.count("\n") == 1
