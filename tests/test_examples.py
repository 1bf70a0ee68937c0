"""The examples from end to end: traced but not trained here; whole, with what they claim, as slow tests."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import surefoot as sf
from surefoot.networks.rewards import RewardNetwork
from surefoot.training.reward_io import save_reward

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def width(picture: Path) -> int:
    with Image.open(picture) as opened:
        return opened.width


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def traced(monkeypatch):
    """Trainings and evaluations are traced only, not compiled: what they are given must fit."""

    def fit(learner, world, *, steps, run, demonstrations=None, overwrite=False):
        def start():
            return learner.init(world.task, jax.random.key(0), demonstrations=demonstrations)

        state = eqx.filter_eval_shape(start)
        after, _, _ = eqx.filter_eval_shape(learner.iteration, state, world, jax.random.key(1))
        assert eqx.tree_equal(after, state)
        assert steps % learner.steps_per_iteration == 0 and overwrite
        network = RewardNetwork.create((0, 1), 4, jax.random.key(2))
        save_reward(Path(run) / "reward", [network], world.task, (0,))
        return SimpleNamespace(path=Path(run), metrics=lambda: {"forward_kl": np.linspace(2, 1, 9)})

    def evaluate(run, *, episodes):
        paths = np.random.default_rng(0).uniform(0, 4, (1, episodes, 30, 2))
        metrics = {"return": SimpleNamespace(estimate=12.3)}
        return SimpleNamespace(metrics=metrics, table=SimpleNamespace(paths=paths))

    monkeypatch.setattr(sf, "fit", fit)
    monkeypatch.setattr(sf, "evaluate", evaluate)


def test_match_a_density(here, traced, capsys):
    example("match_a_density").main()
    printed = capsys.readouterr().out
    assert "KL(wanted || visited): 2.00 nats at first, 1.25 at last" in printed
    assert printed.count("reward at (") == 3
    assert width(here / "runs/match_a_density/visited.png") > 300


def test_recover_a_reward_from_one_trajectory(here, traced, capsys):
    example("recover_a_reward_from_one_trajectory").main()
    printed = capsys.readouterr().out
    assert re.search(r"the demonstration +22\.0\n", printed)  # 7 steps on the way, 22 in the corner
    assert re.search(r"SAC on the recovered reward +12\.3\n", printed)


def test_avoid_a_region_by_density_zero(here, traced, capsys):
    module = example("avoid_a_region_by_density_zero")
    module.main()
    shares = [
        float(x) for x in re.findall(r"([\d.]+)% of the states are in the disc\n", capsys.readouterr().out)
    ]
    area = 100 * np.pi * module.RADIUS**2 / 16
    assert shares == pytest.approx([area, area], abs=3)
    assert width(here / "runs/avoid_a_region/visited.png") > 600
    ring = module.RADIUS * np.array([0.0, 0.99, 1.01])[:, None] * [0.6, 0.8] + module.CENTRE
    logs = module.DENSITIES["never in the disc"].log_prob(jnp.asarray(ring))
    np.testing.assert_array_equal(np.isneginf(logs), [True, True, False])


def test_plan_with_your_own_model(capsys):
    example("plan_with_your_own_model").main()
    rows = re.findall(r"(\d+) +([\d.]+)\n", capsys.readouterr().out)
    careless, careful, learned = ((int(inside), float(far)) for inside, far in rows)
    assert careless[0] > 2 and careless[1] < 0.2
    assert careful[0] == 0 and careful[1] < 0.2
    assert learned[0] <= 1 and learned[1] < 0.4


def whole(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent / "src")},
        capture_output=True,
        text=True,
        timeout=800,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_density_is_matched(tmp_path):
    printed = whole("match_a_density", tmp_path)
    first, last = map(float, re.findall(r"([\d.]+) (?:nats|at last)", printed))
    assert last < 0.5 < first
    far, there, _ = map(float, re.findall(r"reward at .*: (-?[\d.]+)", printed))
    assert there > far + 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_trajectory_is_enough(tmp_path):
    printed = whole("recover_a_reward_from_one_trajectory", tmp_path)
    shown, _, anew = (float(line.split()[-1]) for line in printed.strip().splitlines()[-3:])
    assert anew > 0.75 * shown


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_region_is_avoided(tmp_path):
    printed = whole("avoid_a_region_by_density_zero", tmp_path)
    careless, careful = map(float, re.findall(r"([\d.]+)% of the states", printed))
    assert careless > 5
    assert careful < careless / 4
