"""``surefoot expert`` and ``surefoot demos collect --from``: from training to demonstrations."""

from __future__ import annotations

import json

import numpy as np
import pytest

from surefoot.data import demonstrations
from surefoot.experiments import experts
from surefoot.training.policy_io import load_policy

LANE = "python:probe.lane.Lane"
TRAIN = (
    *("expert", "train", "--env", LANE, "--steps", "200", "--hidden", "4"),
    *("--warm-up", "50", "--replay-capacity", "500", "--run", "lane", "--no-progress"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("expert")


@pytest.fixture
def trained(surefoot, folder, monkeypatch):
    """The run of a little expert, made once, in the folder where commands then run."""
    monkeypatch.chdir(folder)
    if not (folder / "lane").exists():
        assert surefoot(*TRAIN).code == 0
    return surefoot


def test_it_is_sac_with_the_settings_of_the_experiments(trained, folder):
    config = json.loads((folder / "lane" / "config.json").read_text())
    assert config["learner"]["name"] == "sac"
    options = config["learner"]["options"]
    assert (options["alpha"], options["learning_rate"], options["batch_size"]) == (0.2, 1e-3, 100)
    assert options["steps_per_iteration"] == 50 and options["updates_per_step"] == 1.0
    assert options["hidden"] == [4] and options["warm_up"] == 50  # the user's words count
    assert config["world"]["envs"] == 10 and config["steps"] == 200
    assert config["command"].startswith("surefoot train sac --env python:")
    assert load_policy(folder / "lane").kind == "squashed-gaussian"


@pytest.mark.parametrize(
    ("env", "steps", "published"),
    [
        ("gymnasium:Hopper-v5", 1_000_000, 3592.63),
        ("FixedWalker2d-v0", 3_000_000, 5344.21),
        ("surefoot/FixedAnt-v0", 3_000_000, 5926.18),
        ("CustomAnt-v0", 1_000_000, None),
        ("gymnasium:Pendulum-v1", 1_000_000, None),
    ],
)
def test_each_body_has_its_preset(env, steps, published):
    assert (experts.preset_of(env).steps, experts.preset_of(env).published) == (steps, published)


def test_the_lesson_and_the_list(surefoot):
    done = surefoot("expert")
    assert done.code == 0 and "surefoot expert train --env FixedHopper-v0" in done.out
    assert surefoot("expert", "train", "--help").out == done.out
    rows = {line.split()[0]: line.split()[1:] for line in surefoot("expert", "list").out.splitlines()}
    assert rows["HalfCheetah"] == ["3,000,000", "10,000", "12427"]


def test_the_best_episodes_of_a_run_become_demonstrations(trained, folder):
    done = trained("demos", "collect", "--from", "lane", "--episodes", "3", "--best", "--out", "best")
    assert done.code == 0, done.err
    assert "best: 3 episodes, 15 steps" in done.out
    everything = experts.record(folder / "lane", episodes=12)
    best = demonstrations.load(str(folder / "best"))
    np.testing.assert_allclose(best.returns, np.sort(everything.returns)[:-4:-1], rtol=1e-6)
    assert np.sort(everything.returns)[-1] > everything.returns.mean() + 0.1  # there was something to choose
    played = best.metadata["played"]
    assert played["episodes"] == 12
    assert played["return"]["mean"] == pytest.approx(everything.returns.mean())
    assert played["kept_return"]["mean"] == pytest.approx(best.returns.mean())
    assert f"{best.returns.mean():.1f}" in done.out and f"{everything.returns.mean():.1f}" in done.out
    assert best.metadata["command"].endswith("--best --out best")
    assert best.metadata["environment"]["id"] == LANE
    # Actions come from the policy: the greedy ones are its modes.
    greedy = experts.record(folder / "lane", episodes=2, mode="greedy")
    modes = load_policy(folder / "lane").mode(greedy.observations)
    np.testing.assert_allclose(greedy.actions, modes, atol=1e-5)
    assert np.abs(everything.actions - load_policy(folder / "lane").mode(everything.observations)).max() > 0.1


def test_options_of_the_environment_can_be_changed(trained, folder):
    done = trained(
        "demos", "collect", "--from", "lane", "--episodes", "2", "--option", "length=7", "--out", "long"
    )
    assert done.code == 0, done.err
    assert demonstrations.load(str(folder / "long")).lengths.tolist() == [7, 7]


def test_options_take_the_place_of_those_that_the_run_was_trained_with(folder):
    from surefoot.experiments.experts import _where

    run = folder / "pole"
    run.mkdir()
    world = {"id": "gymnasium:Pendulum-v1", "envs": 1, "options": {"env_options": {"g": 3.0, "x": 1}}}
    config = {"format": 1, "world": world, "learner": {}, "seeds": [0], "steps": 1, "iterations": 1}
    (run / "config.json").write_text(json.dumps(config))
    where = _where(run, {}, None, {"g": 1.5, "horizon": 9})
    assert where["options"] == {"env_options": {"g": 1.5, "x": 1}, "horizon": 9}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("expert", "train"), "Name the environment"),
        (("expert", "train", "--env", "gymnasium:Hoper-v5"), "gymnasium:Hopper-v5"),
        (("expert", "train", "--env", "FixedHoper-v0"), "FixedHopper-v0"),
        (("expert", "train", "--env", "gymnasium:CartPole-v1", "--run", "x"), "discrete actions"),
        (("expert", "trian"), "'train'"),
        (("expert", "list", "all"), "'all' is one argument too many"),
        (("demos", "collect", "--from", "nowhere"), "nowhere holds no policy"),
        (("demos", "collect", "--from"), "--from needs a value"),
        (("demos", "collect", "--from", "lane", "--played", "9"), "give --best"),
        (("demos", "collect", "--from", "lane", "--episodes", "9", "--played", "3", "--best"), "play more"),
        (("demos", "collect", "--from", "lane", "--episodes", "0"), "episodes = 0 is out of range"),
        (("demos", "collect", "--from", "lane", "--policy", "7"), "no policy of seed 7"),
        (
            ("demos", "collect", "--from", "lane", "--env", "gymnasium:Pendulum-v1"),
            "takes 2 observed numbers",
        ),
        (("demos", "collect", "--from", "lane", "--beste"), "Did you mean '--best'?"),
    ],
)
def test_what_is_refused_in_one_line(trained, words, message):
    done = trained(*words)
    assert done.code == 2 and message in done.err
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
