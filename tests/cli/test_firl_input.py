"""What cannot be learned from, given to `surefoot train firl` and to Python: one clear line each."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import surefoot as sf
from surefoot.data.demonstrations import Demonstrations, save
from surefoot.errors import SurefootError
from surefoot.networks.rewards import RewardNetwork
from surefoot.task import Box, Task
from surefoot.training.reward_io import save_reward

MINE = """
import jax.numpy as jnp

def nan(x):
    return jnp.where(x[:, 0] > 1, jnp.nan, 0.0)

def negative(x):
    return x[:, 0] - 1

def vectors(x):
    return x
"""


def demonstrated(size: int, length: int, environment: str) -> Demonstrations:
    """One episode, which was cut."""
    return Demonstrations(
        observations=np.full((length, size), 0.5, np.float32),
        actions=np.zeros((length, 2), np.float32),
        rewards=np.zeros(length, np.float32),
        costs=np.zeros((length, 0), np.float32),
        terminations=np.zeros(length, bool),
        truncations=np.arange(length) == length - 1,
        lengths=np.array([length]),
        final_observations=np.full((1, size), 0.5, np.float32),
        constraints=(),
        metadata={"environment": {"id": environment, "options": {}}},
        name="some",
    )


SETS = {
    "size": demonstrated(3, 29, "PointMass-v0"),
    "elsewhere": demonstrated(9, 30, "ReacherTrace-v0"),
    "short": demonstrated(2, 20, "PointMass-v0"),
    "nan": dataclasses.replace(
        demonstrated(2, 29, "PointMass-v0"),
        observations=np.where(np.arange(58).reshape(29, 2) == 7, np.nan, 0.5).astype(np.float32),
    ),
}
WRONG_SETS = {
    "size": "has observations of 3 numbers, but 'PointMass-v0' gives 2",
    "elsewhere": "was made for 'ReacherTrace-v0', not for 'PointMass-v0'",
    "short": "cut after 20 steps, before the horizon of 29",
    "nan": "observations that are not finite (NaN or infinite), the first at step 3",
}


@pytest.fixture
def train(surefoot, tmp_path):
    (tmp_path / "densities_of_mine.py").write_text(MINE)

    def run(*words, method="firl"):
        given = "--env PointMass-v0 --steps 5120 --steps-per-iteration 320 --no-progress".split()
        return surefoot("train", method, *given, *words)

    return run


@pytest.mark.parametrize(
    ("density", "message"),
    [
        ("python:densities_of_mine.nan", "not a number (NaN) at ("),
        (
            '{"function": {"path": "python:densities_of_mine.negative", "gives": "density"}}',
            "negative or not a number",
        ),
        ("python:densities_of_mine.vectors", "it must return one number a point"),
        ('{"uniform-box": {"low": [8, 8], "high": [9, 9]}}', "zero at all of 2000 states"),
        ('{"uniform-box": {"low": [0, 0], "high": [1, Infinity]}}', "has no bound on some side"),
        ('{"gaussian": {"mean": [0, 0, 0], "std": 1}}', "over 3 numbers, but 2 numbers of the state"),
        ('{"gaussian": {"mean": [0, 0], "std": null}}', "needs a std or a covariance"),
        ("point-mass/gausian", "Did you mean 'point-mass/gaussian'"),
    ],
    ids=["nan", "negative", "vectors", "zero", "unbounded", "size", "null", "name"],
)
def test_a_density_that_cannot_be_learned_from(train, density, message):
    found = train("--divergence", "rkl", "--density", density)
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1


@pytest.mark.parametrize("name", SETS)
def test_demonstrations_that_do_not_fit(train, tmp_path, name):
    save(SETS[name], tmp_path / name)
    found = train("--demos", name)
    assert found.code == 2
    assert WRONG_SETS[name] in found.err
    assert found.err.count("\n") == 1
    with pytest.raises(SurefootError) as error:
        sf.fit(
            sf.Firl(),
            sf.make("PointMass-v0"),
            demonstrations=SETS[name],
            steps=5_120,
            run=tmp_path / "run",
            progress=False,
        )
    assert WRONG_SETS[name] in str(error.value)


def test_both_and_neither(train, tmp_path):
    save(SETS["short"], tmp_path / "short")
    both = train("--density", "point-mass/gaussian", "--demos", "short")
    assert both.code == 2 and "both are given" in both.err
    neither = train()
    assert neither.code == 2 and "neither is given" in neither.err


@pytest.mark.parametrize("option", ["--learned-reward", "--prior"])
def test_a_reward_from_another_environment(train, surefoot, tmp_path, option):
    task = Task("Other-v0", Box((3,), (0.0,) * 3, (4.0,) * 3), Box((2,), (-1.0,) * 2, (1.0,) * 2), horizon=5)
    save_reward(tmp_path / "other", [RewardNetwork.create((0, 1, 2), 4, jax.random.key(0))], task, (0,))
    found = surefoot("train", "sac", "--env", "PointMass-v0", option, "other")
    assert found.code == 2
    assert "does not fit 'PointMass-v0', whose states have 2 numbers" in found.err
    assert found.err.count("\n") == 1
    with pytest.raises(SurefootError, match="does not fit 'PointMass-v0'"):
        sf.relabel(sf.make("PointMass-v0"), sf.load_reward(tmp_path / "other"))
