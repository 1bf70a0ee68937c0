"""`surefoot demos`: what it prints, writes, and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from surefoot.cli import demos as command
from surefoot.data import demonstrations

DOCS = Path(__file__).parents[2] / "docs" / "demonstrations.md"


def recording(**changes):
    """Arrays of two short episodes of something with two observed numbers and two actions."""
    return {
        "observations": np.linspace(-1, 1, 10).reshape(5, 2),
        "actions": np.array([0, 1, 1, 0, 1]),
        "lengths": np.array([3, 2]),
        "rewards": np.ones(5),
        "costs": np.array([0.0, 0, 1, 0, 0]),
    } | changes


def test_the_help_teaches(surefoot):
    done = surefoot("demos")
    assert done.code == 0
    for name in command.COMMANDS:
        assert f"\n  {name} " in done.out
        lesson = surefoot("demos", name, "--help")
        assert lesson.code == 0
        assert "--" in lesson.out
    assert "surefoot demos collect --board gap" in done.out
    assert done.out == surefoot("demos", "--help").out


def test_the_list_holds_every_bundled_set_with_its_numbers(surefoot, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
    done = surefoot("demos", "list")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    for name in demonstrations.bundled():
        demos = demonstrations.load(name)
        assert [name, str(demos.episodes), str(demos.steps)] in [line[:3] for line in lines]
    assert "none" in done.out.splitlines()[-3]


def test_the_data_sheet_in_the_docs_is_the_one_that_is_printed(surefoot):
    done = surefoot("demos", "list", "--markdown")
    assert done.out.strip() in DOCS.read_text(encoding="utf-8")


def test_show_tells_and_draws(surefoot, tmp_path):
    done = surefoot("demos", "show", "noisy")
    assert done.code == 0
    demos = demonstrations.load("noisy")
    for words in (
        "marble-maze/noisy",
        "board gap, constraints zone+speed",
        f"120, {demos.steps} steps",
        "any: 12 of 120 episodes",
        f"speed: {(demos.violating_steps[:, 1] > 0).sum()} of 120",
        f"mean {demos.returns.mean():.2f}",
        "dropped 0 (0.0 %)",
        "picture: marble-maze-noisy.png",
    ):
        assert words in done.out
    shares = [float(line.split()[2]) for line in done.out.splitlines() if line.startswith("  action")]
    assert np.allclose(shares, 100 * np.bincount(demos.actions, minlength=9) / demos.steps, atol=0.05)
    with Image.open(tmp_path / "marble-maze-noisy.png") as image:
        colours = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    for blue_or_orange in ((0, 114, 178), (213, 94, 0)):
        assert (np.abs(colours - blue_or_orange).max(axis=1) < 12).sum() > 100


def test_show_as_json_without_a_picture(surefoot, tmp_path):
    done = surefoot("demos", "show", "zone", "--as-json", "--no-picture")
    about = json.loads(done.out)
    assert about["digest"] == demonstrations.load("zone").digest()
    assert about["picture"] is None
    assert list(tmp_path.iterdir()) == []


def test_import_converts_checks_and_shows(surefoot, tmp_path):
    np.savez(tmp_path / "mine.npz", **recording())
    done = surefoot("demos", "import", "mine.npz", "--out", "sets/mine", "--name", "my own")
    assert done.code == 0, done.err
    assert "2 episodes, 5 steps" in done.out
    assert "--demos sets/mine" in done.out
    demos = demonstrations.load(tmp_path / "sets" / "mine")
    assert demos.name == "my own"
    assert demos.violating_steps.tolist() == [[1], [0]]
    shown = surefoot("demos", "show", "sets/mine")
    assert "cost: 1 of 2 episodes" in shown.out
    assert (tmp_path / "sets" / "mine.png").stat().st_size > 1000
    again = surefoot("demos", "import", "mine.npz", "--out", "sets/mine")
    assert again.code == 2
    assert "exists; choose another place or overwrite it (--overwrite)" in again.err
    assert surefoot("demos", "import", "mine.npz", "--out", "sets/mine", "--overwrite").code == 0


def test_import_against_an_environment(surefoot, tmp_path):
    good = recording(observations=np.zeros((5, 4)))
    np.savez(tmp_path / "good.npz", **good)
    done = surefoot("demos", "import", "good.npz", "--env", "gymnasium:CartPole-v1")
    assert done.code == 0, done.err
    demos = demonstrations.load(tmp_path / "demonstrations" / "good")
    assert "CartPole-v1" in demos.metadata["environment"]["id"]
    np.savez(tmp_path / "bad.npz", **recording())
    np.savez(tmp_path / "wild.npz", **good | {"actions": np.array([0, 1, 2, 0, 0])})
    for name, words in (("bad", "observations of 2 numbers"), ("wild", "2 at step 2 of episode 0")):
        done = surefoot("demos", "import", f"{name}.npz", "--env", "gymnasium:CartPole-v1", "--out", name)
        assert done.code == 2
        assert words in done.err
        assert not (tmp_path / name).exists()


def test_import_against_an_environment_with_options(surefoot, tmp_path):
    np.savez(tmp_path / "maze.npz", **recording(observations=np.zeros((5, 8)), actions=np.zeros(5, int)))
    words = ("demos", "import", "maze.npz", "--env", "MarbleMaze-v0", "--out", "maze")
    done = surefoot(*words, "--option", "boards=island")
    assert done.code == 2 and "board" in done.err
    done = surefoot(*words, "--option", "board=island", 'constraints=["speed"]')
    assert done.code == 0, done.err
    options = demonstrations.load(tmp_path / "maze").metadata["environment"]["options"]
    assert options == {"board": "island", "constraints": ["speed"]}
    done = surefoot("demos", "import", "maze.npz", "--option", "board=island")
    assert done.code == 2 and "name it with --env" in done.err


def test_a_set_with_one_observed_number_or_real_actions(surefoot, tmp_path):
    np.savez(
        tmp_path / "one.npz", **recording(observations=np.zeros((5, 1)), actions=np.zeros((5, 2)) + 0.25)
    )
    done = surefoot("demos", "show", "one.npz")
    assert done.code == 2
    assert "--no-picture" in done.err
    done = surefoot("demos", "show", "one.npz", "--no-picture")
    assert "action 1     0.25 to 0.25, mean 0.25" in done.out


@pytest.mark.parametrize(
    "words, said",
    [
        (["shw"], "Did you mean 'show'"),
        (["show"], "`surefoot demos show` needs a set"),
        (["show", "zone+spee"], "Did you mean 'zone+speed'"),
        (["show", "zone", "--out", "a.jpg"], "let its name end in .png"),
        (["import", "nothing.npz"], "Unknown demonstrations 'nothing.npz'"),
        (["collect", "--boar", "gap"], "Did you mean '--board'"),
        (["collect", "--board", "gab"], "Did you mean 'gap'"),
        (["collect", "--constraints", "zones"], "Did you mean 'zone'"),
        (["collect", "--episodes", "0"], "episodes = 0 is out of range"),
        (["collect", "--episodes", "many"], "--episodes"),
        (["collect", "--bundled", "zones"], "Did you mean 'zone'"),
        (["collect", "--out", "taken"], "'taken' exists and is no set of demonstrations"),
        (["list", "all"], "one argument too many"),
    ],
)
def test_mistakes_are_one_line(surefoot, tmp_path, words, said):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    done = surefoot("demos", *words)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_bundled_sets_elsewhere_are_overwritten_on_demand_only(surefoot, tmp_path, monkeypatch):
    few = demonstrations.load("marble-maze/zone").slice(range(2))
    monkeypatch.setattr("surefoot.experiments.bundled_demos.bundled_set", lambda name: few)
    words = ("demos", "collect", "--bundled", "zone", "--out", "sets")
    assert surefoot(*words).code == 0
    again = surefoot(*words)
    assert again.code == 2 and "sets/marble-maze/zone' exists" in again.err
    assert surefoot(*words, "--overwrite").code == 0


def test_collect_writes_a_set_that_can_be_trained_on(surefoot, tmp_path):
    done = surefoot(
        *("demos", "collect", "--board", "gap", "--constraints", "zone", "speed"),
        *("--episodes", "12", "--starts", "test", "--out", "mine", "--seed", "3"),
    )
    assert done.code == 0, done.err
    assert "mine: 12 episodes" in done.out
    assert "300 episodes played" in done.out
    assert "test/right 4, test/bottom 4, test/corner 4" in done.out
    demos = demonstrations.load(tmp_path / "mine")
    assert demos.constraints == ("zone", "speed")
    command_line = "--board gap --constraints zone speed --episodes 12 --starts test --out mine --seed 3"
    assert demos.metadata["command"] == f"surefoot demos collect {command_line}"
    assert not demos.any_violating_steps.any()
    assert surefoot("demos", "collect", "--out", "mine").code == 2
