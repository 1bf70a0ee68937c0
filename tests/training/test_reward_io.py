"""Learned rewards as files: the same numbers again, and one clear line for what is damaged."""

from __future__ import annotations

import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from surefoot.algorithms.rl.discrete_sac import DiscreteSac
from surefoot.errors import SurefootError
from surefoot.networks.rewards import RewardNetwork
from surefoot.training.fit import fit, resume
from surefoot.training.reward_io import load_reward, save_reward
from surefoot.worlds.relabel import relabel
from training.tiny import Walk

TASK = Walk().task
STATES = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)


def network(seed: int, indices: tuple[int, ...] = (1,)) -> RewardNetwork:
    return RewardNetwork.create(indices, 3, jax.random.key(seed), activation="tanh")


@pytest.fixture
def folder(tmp_path):
    save_reward(tmp_path / "run" / "reward", [network(0), network(1)], TASK, (4, 7), notes={"algorithm": "x"})
    return tmp_path / "run" / "reward"


def by_hand(net: RewardNetwork, states: np.ndarray) -> np.ndarray:
    """Linear, linear and tanh, linear; cut at +-10."""
    w, b = [np.asarray(x, np.float64) for x in net.body.weights], [np.asarray(x) for x in net.body.biases]
    x = states[..., [1]] @ np.asarray(net.embedding.weights[0]) + np.asarray(net.embedding.biases[0])
    return np.clip(np.tanh(x @ w[0] + b[0]) @ w[1] + b[1], -10, 10)[..., 0]


def test_the_same_numbers_come_back(folder):
    for seed, made in ((4, network(0)), (7, network(1))):
        for path in (folder, folder.parent):  # the folder itself, or the run that it is in
            reward = load_reward(path, seed)
            np.testing.assert_array_equal(reward(STATES), made(jnp.asarray(STATES)))
            np.testing.assert_allclose(reward(STATES), by_hand(made, STATES), atol=1e-5)
            np.testing.assert_allclose(reward.in_numpy()(STATES), by_hand(made, STATES), atol=1e-5)
    assert load_reward(folder).seed == 4
    assert load_reward(folder).indices == (1,)
    assert load_reward(folder, 4).digest != load_reward(folder, 7).digest
    assert json.loads((folder / "reward.json").read_text())["algorithm"] == "x"


def test_states_of_another_size_are_refused(folder):
    for reward in (load_reward(folder), load_reward(folder).in_numpy()):
        with pytest.raises(SurefootError, match="states have 2 numbers"):
            reward(np.zeros((4, 3)))
    with pytest.raises(SurefootError, match="states have 2 numbers"):
        relabel(sf.make("MarbleMaze-v0", envs=1), load_reward(folder))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_numpy_gives_the_same_numbers_and_cuts_them_too(tmp_path, activation):
    made = RewardNetwork.create((1, 0), 8, jax.random.key(3), activation=activation, layers=3)
    made = eqx.tree_at(lambda n: n.body.biases[-1], made, jnp.array([10.0]))
    save_reward(tmp_path, [made], TASK, (0,))
    reward = load_reward(tmp_path)
    states = 5 * STATES
    np.testing.assert_allclose(reward.in_numpy()(states), reward(states), atol=1e-5)
    assert np.max(reward.in_numpy()(states)) == 10 > np.min(reward.in_numpy()(states))
    assert reward.in_numpy()(states[0, 0]).shape == ()


def rewrite(file: Any, change: Any) -> None:
    about = json.loads(file.read_text())
    change(about)
    file.write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "reward.json").unlink(), "There is no reward in"),
        (lambda f: (f / "reward.json").write_text("{"), "reward.json is damaged"),
        (lambda f: rewrite(f / "reward.json", lambda a: a.update(format=9)), "has format 9"),
        (lambda f: rewrite(f / "reward.json", lambda a: a.update(width=4)), "does not fit reward.json"),
        (lambda f: rewrite(f / "reward.json", lambda a: a.update(width=10**9)), "reward.json is damaged"),
        (lambda f: rewrite(f / "reward.json", lambda a: a.update(indices=[2])), "reward.json is damaged"),
        *(
            (lambda f, k=key: rewrite(f / "reward.json", lambda a: a.pop(k)), "reward.json is damaged")
            for key in ("seeds", "environment", "activation", "observation")
        ),
        (lambda f: rewrite(f / "reward.json", lambda a: a.update(seeds=[])), "reward.json is damaged"),
        (
            lambda f: rewrite(f / "reward.json", lambda a: a["observation"].pop("low")),
            "reward.json is damaged",
        ),
        (lambda f: (f / "seed-4.safetensors").unlink(), "cannot be read"),
        (lambda f: (f / "seed-4.safetensors").write_bytes(b"torn"), "cannot be read"),
    ],
)
def test_what_is_damaged_is_named(folder, spoil, message):
    spoil(folder)
    with pytest.raises(SurefootError, match=message):
        load_reward(folder)


def test_a_weight_that_is_not_finite_and_an_unknown_seed_are_named(folder):
    with pytest.raises(SurefootError, match=r"no seed 5; it has \[4, 7\]"):
        load_reward(folder, 5)
    bad = eqx.tree_at(lambda n: n.embedding.biases[0], network(0), jnp.array([0.0, jnp.nan, 1.0]))
    save_reward(folder, [bad], TASK, (4,))
    with pytest.raises(SurefootError, match=r"embedding.biases.0.*not finite"):
        load_reward(folder)


SMALL = DiscreteSac(hidden=(4,), steps_per_iteration=8, warm_up=8, batch_size=8, replay_capacity=64)


class Rewarding(eqx.Module):
    """Discrete SAC that says it has learned a reward: that of its first seeds' key."""

    inner: DiscreteSac = SMALL
    needs_demonstrations = False
    interacts = True

    @property
    def steps_per_iteration(self):
        return self.inner.steps_per_iteration

    def init(self, task, key, *, demonstrations=None):
        return self.inner.init(task, key), RewardNetwork.create((0, 1), 3, key)

    def policy(self, state):
        return self.inner.policy(state[0])

    def iteration(self, state, world, key):
        inner, world, metrics = self.inner.iteration(state[0], world, key)
        return (inner, state[1]), world, metrics

    def reward(self, state):
        return state[1]


def test_a_run_keeps_the_reward_that_it_learned_and_one_that_learns_from_it_a_copy(tmp_path):
    world = sf.make(Walk(), envs=2)
    first = fit(Rewarding(), world, steps=16, seeds=(0, 3), run=tmp_path / "first", progress=False)
    learned = load_reward(first.path, 3)
    assert not np.array_equal(learned(STATES), load_reward(first.path, 0)(STATES))

    def train(name: str, steps: int) -> Any:
        changed = relabel(world, learned, prior_weight=0.5, discount=0.9)
        return fit(SMALL, changed, steps=steps, run=tmp_path / name, log_every=8, progress=False)

    whole = train("whole", 64)
    assert whole.config["reward"]["seed"] == 3 and whole.config["reward"]["prior_weight"] == 0.5
    # Interrupted, its reward gone from where it was: the run has what it needs.
    half = train("half", 64)
    last = half.checkpoints()[0]
    last.unlink()
    (first.path / "reward" / "seed-3.safetensors").unlink()
    done = resume(half.path, progress=False)
    assert done.checkpoints()[0].read_bytes() == whole.checkpoints()[0].read_bytes()
    # And it refuses to go on with another one.
    done.checkpoints()[0].unlink()
    other = load_reward(first.path, 0)
    with pytest.raises(SurefootError, match="trained with the reward"):
        resume(half.path, relabel(world, other, prior_weight=0.5, discount=0.9), progress=False)
    save_reward(half.path / "given_reward", [network(9)], TASK, (3,))
    with pytest.raises(SurefootError, match="has changed since"):
        resume(half.path, progress=False)
