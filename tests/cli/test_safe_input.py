"""What safe methods cannot learn from, given to `surefoot train` and `evaluate`: one clear line each."""

from __future__ import annotations

import pytest

from surefoot.training.run import Run

MINE = """
import gymnasium
import numpy as np

class Mine(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    costs = {"cost": 0.1}

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action):
        return np.full(3, 0.1, np.float32), float(action[0]), False, False, dict(self.costs)

class Careless(Mine):
    costs = {}
"""
TINY = (
    "--batch-steps 40 --hidden 4 --critic-hidden 4 --critic-steps 1 --steps 40 --no-progress --envs 4".split()
)
WALK = ["--env", "NoisyWalk-v0", *TINY]
OWN = ["--env", "python:safe_input_mine.Mine", *TINY]


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    (tmp_path / "safe_input_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))


def refused(done, *words: str) -> None:
    assert done.code == 2 and done.err.startswith("error: ") and done.err.strip().count("\n") == 0
    for word in words:
        assert word in done.err, done.err


def test_limits_that_do_not_fit(surefoot):
    for method in ("lbpo", "cpo", "ppo-lagrangian", "safe-start"):
        refused(
            surefoot("train", method, "--env", "NoisyWalk-v0", "--cost-limits", "-1"),
            "cost_limits = -1",
            "25",
        )
    refused(surefoot("train", "lbpo", *WALK, "--cost-limits", "nan"), "cost_limits = nan")
    for method in ("lbpo", "cpo", "ppo-lagrangian"):
        empty = surefoot("train", method, "--env", "NoisyWalk-v0", "--cost-limits", "--run", "a")
        refused(empty, "cost_limits is empty")
    below = surefoot(
        "train", "cpo", "--env", "python:safe_input_mine.Mine", "--horizon", "10", "--limits", "-3"
    )
    refused(below, "gives the limit -3 for the cost 'cost'")
    refused(
        surefoot("train", "lbpo", *WALK, "--cost-limits", "1", "2"), "2 numbers for 1 constraints (distance)"
    )
    small = ["--env", "python:safe_input_mine.Mine", "--horizon", "10", "--batch-steps", "300"]
    for method in ("lbpo", "cpo", "ppo-lagrangian", "safe-start"):
        missing = surefoot("train", method, *small)
        refused(missing, "needs a cost limit", "gives no limit for the cost 'cost'", "--cost-limits 25")
    high = surefoot("train", "safe-start", *WALK)
    refused(high, "target_cost = 5 is above the limit 2 of the cost 'distance'", "--target-cost 1.6")
    few = surefoot("train", "lbpo", *OWN, "--horizon", "10", "--constraints", "cost", "--limits", "3", "4")
    refused(few, "2 limits", "one limit")


def test_environments_that_do_not_fit(surefoot):
    careless = [word.replace("Mine", "Careless") for word in OWN]
    refused(surefoot("train", "lbpo", *careless, "--horizon", "10"), "needs a cost signal", "use ppo")
    plain = [
        "--no-progress",
        "--batch-steps",
        "40",
        "--minibatch",
        "20",
        "--steps",
        "1600",
        "--log-every",
        "40",
    ]
    endless = surefoot("train", "ppo-lagrangian", *OWN[:2], "--limits", "3", *plain, "--envs", "4")
    assert endless.code == 0 and "no end, seed 0: no episode has ended so far" in endless.err
    refused(surefoot("train", "lbpo", *OWN, "--limits", "3"), "may never end", "--horizon")
    refused(surefoot("train", "lbpo", *OWN, "--limits", "3", "--horizon", "30"), "--batch-steps 30")
    many = ("--batch-steps", "10000000000", "--steps", "10000000000")
    refused(surefoot("train", "lbpo", *WALK, *many), "GiB", "take fewer steps")
    refused(surefoot("train", "ppo-lagrangian", *WALK[:2], *many), "GiB", "take fewer steps")
    refused(surefoot("train", "ppo", *WALK[:2], *many), "GiB", "take fewer steps")


def test_a_safe_start_of_another_size_and_limits_of_an_evaluation(surefoot):
    assert surefoot("train", "safe-start", *WALK, "--run", "start", "--target-cost", "2").code == 0
    refused(surefoot("train", "lbpo", *WALK, "--hidden", "5", "--from", "start"), "--hidden 4")
    refused(surefoot("train", "lbpo", *WALK, "--critic-hidden", "5", "--from", "start"), "--critic-hidden 4")
    elsewhere = surefoot("train", "lbpo", *OWN, "--horizon", "10", "--limits", "3", "--from", "start")
    refused(elsewhere, "takes 2 numbers", "needs 3")
    refused(surefoot("train", "lbpo", *WALK, "--from", "nowhere"), "nowhere")
    refused(surefoot("evaluate", "start", "--cost-limits", "1", "2"), "2 numbers for 1 constraints")
    refused(surefoot("evaluate", "start", "--cost-limits", "-1"), "cost_limits = -1")
    refused(surefoot("evaluate", "start", "--tail", "2"), "tail = 2")
    done = surefoot("evaluate", "start", "--episodes", "30", "--cost-limits", "50")
    assert (
        done.code == 0
        and "distance: the expected cost is below the limit 50 with 95 % confidence" in done.out
    )


def test_a_number_that_is_not_finite_is_named_and_the_last_good_state_is_kept(surefoot, tmp_path):
    """Critics that leap to 1e20 are finite after the first epoch; the square of their error is not."""
    words = [
        *WALK,
        "--steps",
        "200",
        "--log-every",
        "40",
        "--critic-fit",
        "before",
        "--exploration",  # so much that five epochs are not too few
        "2",
        "--checkpoint-every",
        "0",
    ]
    done = surefoot("train", "lbpo", *words, "--critic-learning-rate", "1e20", "--run", "broken")
    refused(
        done, "Training diverged:", "critic_loss", "became inf", "iteration 2", "checkpoints/1.safetensors"
    )
    run = Run(tmp_path / "broken")
    assert run.progress == 40 and [path.stem for path in run.checkpoints()] == ["1"]
