"""``surefoot train``: what it teaches, what it refuses, and what it starts."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from surefoot.algorithms import ALGORITHMS, algorithm
from surefoot.cli import train
from surefoot.envs import ENVIRONMENTS


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_lesson_names_everything(surefoot, words):
    done = surefoot("train", *words)
    assert done.code == 0
    for said in (*ALGORITHMS, *ENVIRONMENTS, "gymnasium:", "Examples:", "surefoot resume RUN"):
        assert said in done.out
    assert max(map(len, done.out.splitlines())) <= 110


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("env", [*ENVIRONMENTS, "gymnasium:CartPole-v1"])
def test_every_option_has_a_name_of_its_own_and_help(name, env):
    groups = (train.RunOptions, algorithm(name), train.environment_options(env))
    names = [each.name for group in groups for each in fields(group) if each.init]
    twice = {each for each in names if names.count(each) > 1}
    assert not twice, f"{name} and {env}: two options called {twice}; rename the algorithm's"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_help_shows_every_setting_with_its_meaning(surefoot, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")  # one column of options
    done = surefoot("train", name, "--help")
    assert done.code == 0
    for each in fields(algorithm(name)):
        if not each.init:
            continue
        flag = f"--{each.name.replace('_', '-')}"
        lines = [line.strip("│ ") for line in done.out.splitlines()]
        at = next(row for row, line in enumerate(lines) if flag in line.replace(",", " ").split())
        end = next(row for row in range(at + 1, len(lines)) if lines[row].startswith(("--", "╰")))
        text = " ".join(lines[at:end])
        assert "(default:" in text
        before_default = text.partition("(default:")[0]
        assert len(before_default.split()) > 3, f"{flag} of {name} has no docstring"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scopli"], "Unknown algorithm 'scopli'. Did you mean 'scopil'?"),
        (["--steps", "3"], "The algorithm comes first"),
        (["scopil"], "scopil learns from demonstrations; give some (--demos NAME"),
        (["icrl"], "icrl learns from demonstrations; give some (--demos NAME"),
        (["discrete-sac", "--hiden", "3"], "Unknown option '--hiden'. Did you mean '--hidden'?"),
        (["discrete-sac", "--discount", "2"], "discount = 2.0 is out of range"),
        (["discrete-sac", "--steps", "many"], "--steps"),
        (["discrete-sac", "--steps", "0"], "steps"),
        (["discrete-sac", "--seeds", "zero"], "--seeds zero: "),
        (["discrete-sac", "--seeds", "20240517"], "the one seed is 20240517, with a comma behind it"),
        (["discrete-sac", "--run", "."], "'.' is no name of a run folder"),
        (["discrete-sac", "--envs", "0"], "envs = 0"),
        (["discrete-sac", "--evaluate-episodes", "5"], "says nothing without --evaluate-every STEPS"),
        (["discrete-sac", "--env", "MarbleMase-v0"], "Did you mean 'MarbleMaze-v0'?"),
        (["discrete-sac", "--env=gymnasium:CartPol-v1"], "CartPole"),
        (["discrete-sac", "--env", "gymnasium:CartPole-v1", "--option", "x"], "NAME=VALUE"),
        (["discrete-sac", "--env", "gymnasium:CartPole-v1", "--cost", "nowhere:cost"], "nowhere"),
        (
            ["ppo", "--env", "gymnasium:CartPole-v1", "--sutton-barto-reward=true"],
            "CartPole-v1 has an option of that name: give it as --option sutton_barto_reward=true.",
        ),
        (["ppo", "--env", "gymnasium:CartPole-v1", "--batch-stepps", "8"], "Did you mean '--batch-steps'?"),
        (["discrete-sac", "--env"], "--env"),
        (["safe-start", "--from"], "Missing value for argument '--from'"),
        (["discrete-sac", "--reward"], "Missing value for argument '--reward'"),
        (["discrete-sac", "--constraints", "zones"], "Did you mean 'zone'?"),
        (["discrete-sac", "--board", "gab"], "Did you mean 'gap'?"),
        (["discrete-sac", "--starts", "tests"], "Did you mean 'test'?"),
        (["bc", "--demos", "marble-maze/zon"], "Did you mean 'marble-maze/zone'?"),
        (
            ["bc", "--demos", "marble-maze/zone", "--env", "gymnasium:CartPole-v1"],
            "was made for 'MarbleMaze-v0'",
        ),
        (["bc", "--demos", "zone", "--first", "0"], "first = 0 is out of range"),
        (["bc", "--demos", "zone", "--first", "121"], "--first 121, but 'zone' has 120 episodes"),
        (["bc", "--first", "1"], "give one (--demos NAME)"),
        (["discrete-sac", "--demos", "zone"], "discrete-sac does not learn from demonstrations; leave out"),
        (
            ["ppo", "--env", "gymnasium:CartPole-v1", "--cost", "./costs.py:far"],
            "write the module's name, costs:far, not its file",
        ),
        (["discrete-sac", "stray"], "'stray' is one argument too many."),
    ],
)
def test_bad_input_is_one_line_and_code_2(surefoot, tmp_path, words, said):
    done = surefoot("train", *words)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_exists_is_not_touched(surefoot, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    done = surefoot("train", "discrete-sac", "--run", "mine")
    assert done.code == 2
    assert "mine exists" in done.err
    assert "surefoot resume mine" in done.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["config.json"]


def test_what_lies_in_the_working_folder_is_no_reward(surefoot, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    done = surefoot("train", "discrete-sac", "--steps", "0")
    assert done.code == 2 and "reward" not in done.err and "steps" in done.err


SMALL = "--steps 256 --envs 4 --no-progress --warm-up 64 --hidden 4 --batch-size 8".split()


def test_trains_and_says_what_comes_next(surefoot, tmp_path):
    done = surefoot(
        "train", "discrete-sac", *SMALL, "--seeds", "2", "--constraints", "zone", "tilt", "--run", "a b"
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "Next: surefoot evaluate 'a b'"
    from surefoot import Run

    run = Run(tmp_path / "a b")
    assert run.finished
    assert run.seeds == (0, 1)
    assert run.config["learner"]["name"] == "discrete-sac"
    assert run.config["learner"]["options"]["hidden"] == [4]
    assert tuple(run.config["world"]["options"]["constraints"]) == ("zone", "tilt")
    assert run.config["command"].startswith("surefoot train discrete-sac --steps 256")
    assert run.config["command"].endswith("--run 'a b'")

    done = surefoot("resume", "a b")
    assert done.code == 0
    assert "finished already" in done.out


def test_learns_from_the_first_demonstrations_and_so_does_what_is_resumed(surefoot, tmp_path):
    from surefoot import Run
    from surefoot.data import demonstrations

    words = "train bc --steps 200 --log-every 100 --no-progress --hidden 4 --checkpoint-every 0".split()
    assert surefoot(*words, "--demos", "zone", "--first", "2", "--run", "few").code == 0
    run, whole = Run(tmp_path / "few"), demonstrations.load("zone")
    kept = demonstrations.load(run.path / "demonstrations")
    assert (kept.episodes, kept.name) == (2, "first 2 of marble-maze/zone")
    np.testing.assert_array_equal(kept.observations, whole.observations[: whole.lengths[:2].sum()])
    assert kept.digest() == run.config["demonstrations"]["digest"] != whole.digest()
    assert "--first 2" in run.config["command"]

    # Cut back and resumed it learns from these two, or the weights would be others.
    policy = (run.path / "policy" / "seed-0.safetensors").read_bytes()
    run.checkpoints()[0].unlink()
    assert surefoot("resume", "few", "--no-progress").code == 0
    assert (run.path / "policy" / "seed-0.safetensors").read_bytes() == policy

    done = surefoot(*words, "--demos", "few/demonstrations", "--first", "1", "--run", "few", "--overwrite")
    assert done.code == 2 and "would be deleted with the run" in done.err
    assert demonstrations.load(run.path / "demonstrations").episodes == 2


def test_trains_on_an_environment_of_gymnasium_with_a_cost_from_here(surefoot, tmp_path):
    Path(tmp_path / "mycosts.py").write_text(
        "def left(observation, action, next_observation, info):\n    return 1.0\n"
    )
    words = ("--env", "gymnasium:CartPole-v1", "--cost", "mycosts:left", "--option", "render_mode=rgb_array")
    done = surefoot("train", "discrete-sac", *SMALL, *words, "--run", "cart")
    assert (done.code, done.err) == (0, "")
    from surefoot import Run

    world = Run(tmp_path / "cart").config["world"]
    assert world["id"] == "gymnasium:CartPole-v1"
    assert world["options"]["cost"] == "mycosts:left"


def test_an_interrupt_says_how_to_go_on(surefoot, monkeypatch):
    from surefoot.training import fit as training

    def stop(*_, **__):
        raise KeyboardInterrupt("Stopped. Go on with: surefoot resume mine")

    monkeypatch.setattr(training, "fit", stop)
    done = surefoot("train", "discrete-sac", "--run", "mine")
    assert (done.code, done.err) == (130, "Stopped. Go on with: surefoot resume mine\n")
