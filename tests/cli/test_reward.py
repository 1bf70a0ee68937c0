"""`surefoot reward show`: numbers, pictures, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from surefoot.data.demonstrations import Demonstrations, save
from surefoot.networks.rewards import RewardNetwork
from surefoot.task import Box, Discrete, Task
from surefoot.training.reward_io import load_reward, save_reward


def task(high: float) -> Task:
    return Task("Plane-v0", Box((3,), (0.0, 0.0, -1.0), (4.0, 2.0, high)), Discrete(2), horizon=5)


@pytest.fixture
def run(tmp_path, request):
    indices, high = getattr(request, "param", ((0, 1), 1.0))
    rewards = [RewardNetwork.create(indices, 8, jax.random.key(seed)) for seed in (0, 1)]
    save_reward(tmp_path / "run" / "reward", rewards, task(high), (2, 5), notes={"algorithm": "firl"})
    return tmp_path / "run"


def demonstrated(tmp_path):
    rng = np.random.default_rng(0)
    last = np.tile([False, False, False, True], 3)
    demos = Demonstrations(
        observations=rng.normal(size=(12, 3)).astype(np.float32),
        actions=np.zeros(12, np.int32),
        rewards=np.zeros(12, np.float32),
        costs=np.zeros((12, 0), np.float32),
        terminations=last,
        truncations=~last & False,
        lengths=np.array([4, 4, 4]),
        final_observations=np.zeros((3, 3), np.float32),
        constraints=(),
        metadata={"environment": {"id": "gymnasium:CartPole-v1", "options": {}}},
        name="some",
    )
    save(demos, tmp_path / "demos")
    return demos


def test_a_map_of_two_bounded_entries(surefoot, run, tmp_path):
    out = tmp_path / "map.png"
    found = surefoot("reward", "show", str(run), "--out", str(out))
    assert found.code == 0, found.err
    with Image.open(out) as picture:
        assert picture.width > 600  # two maps side by side
    grid = np.stack(np.meshgrid(np.linspace(0, 4, 101), np.linspace(0, 2, 101)), axis=-1).astype(np.float32)
    states = np.concatenate([grid, np.zeros_like(grid[..., :1])], axis=-1)
    values = np.stack([load_reward(run, seed)(states) for seed in (2, 5)])
    assert f"{values.min():.3g} to {values.max():.3g}" in found.out
    assert "firl" in found.out and "entries 0, 1" in found.out


@pytest.mark.parametrize("run", [((2,), np.inf)], indirect=True)
def test_along_trajectories_where_there_is_no_map(surefoot, run, tmp_path):
    refused = surefoot("reward", "show", str(run), "--out", str(tmp_path / "x.png"))
    assert refused.code == 2 and "--along" in refused.err
    demos, out = demonstrated(tmp_path), tmp_path / "along.svg"
    found = surefoot(
        "reward", "show", str(run), "--seed", "5", "--along", str(tmp_path / "demos"), "--out", str(out)
    )
    assert found.code == 0, found.err
    values = np.concatenate([load_reward(run, 5)(demos.episode(i)["observations"]) for i in range(3)])
    assert f"{values.min():.3g} to {values.max():.3g}" in found.out
    assert out.read_text().startswith("<?xml")


@pytest.mark.parametrize("run", [((0, 2), np.inf)], indirect=True)
def test_a_map_without_bounds_needs_edges(surefoot, run, tmp_path):
    out = str(tmp_path / "map.png")
    assert "--low X Y" in surefoot("reward", "show", str(run), "--out", out).err
    edges = ("--low", "-1", "-1", "--high", "2", "3")
    found = surefoot("reward", "show", str(run), "--out", out, *edges)
    assert found.code == 0 and Path(out).exists(), found.err
    for wrong in (("--low", "0", "--high", "1"), ("--low", "0", "0", "--high", "1", "0")):
        refused = surefoot("reward", "show", str(run), "--out", out, *wrong)
        assert refused.code == 2 and "two numbers each" in refused.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("shwo", "x"), "Did you mean 'show'"),
        (("show", "nowhere"), "There is no reward in 'nowhere'"),
        (("show", "nowhere", "--out", "a.jpeg"), "must end in .png, .svg, .pdf"),
        (("show", "nowhere", "--trajectories", "0"), "--trajectories = 0 is out of range"),
    ],
)
def test_what_cannot_be_shown(surefoot, words, message):
    found = surefoot("reward", *words)
    assert found.code == 2 and message in found.err


def test_train_takes_one_of_reward_and_prior(surefoot):
    both = surefoot("train", "discrete-sac", "--learned-reward", "a", "--prior", "b")
    assert both.code == 2 and "give one of them" in both.err
    for words, said in {
        "--prior-weight 0.5": "--prior-weight says nothing without --prior RUN;",
        "--reward-seed 1": "--reward-seed says nothing without --prior RUN or --reward RUN;",
        "--learned-reward a --prior-discount 0.5": "--prior-discount says nothing without --prior RUN;",
    }.items():
        alone = surefoot("train", "discrete-sac", *words.split())
        assert alone.code == 2 and said in alone.err and alone.err.count("\n") == 1
    gone = surefoot("train", "discrete-sac", "--env", "gymnasium:CartPole-v1", "--reward", "nowhere")
    assert gone.code == 2 and "There is no reward in 'nowhere'" in gone.err


def test_reward_means_a_run_where_the_environment_has_an_option_of_that_name(surefoot, run):
    """The maze does: the reward in this run is of three numbers, its states have eight."""
    unfit = surefoot("train", "discrete-sac", "--reward", str(run))
    assert unfit.code == 2 and "states have 3 numbers" in unfit.err
    (run.parent / "runs").mkdir()
    run.rename(run.parent / "runs" / "named")  # a name below runs/, as everywhere
    unfit = surefoot("train", "discrete-sac", "--reward", "named")
    assert unfit.code == 2 and "states have 3 numbers" in unfit.err
    assert surefoot("reward", "show", "named").code == 0
    kind = surefoot("train", "discrete-sac", "--reward", "sideways")
    assert kind.code == 2 and "sideways" in kind.err
