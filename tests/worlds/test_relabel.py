"""Worlds with another reward: against the formula, on trajectories of the world itself."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from probe.playing import collect
from surefoot.algorithms.rl.discrete_sac import DiscreteSac
from surefoot.errors import SurefootError
from surefoot.training.fit import fit, resume
from surefoot.worlds.relabel import RelabelledWorld, relabel
from surefoot.worlds.world import Episodes, Steps
from training.tiny import Walk, WalkGym


def walk_world():
    return sf.make(Walk(), envs=2)


class Always(eqx.Module):
    def act(self, observation, key):
        return jax.random.bernoulli(key).astype(jnp.int32)


class Push(eqx.Module):
    def act(self, observation, key):
        return jax.random.uniform(key, (3,), minval=-1.0)


def distance(states):
    return 2.0 * states[..., 0] - states[..., 1]


@pytest.fixture(params=["jax", "gymnasium"])
def world(request):
    return walk_world() if request.param == "jax" else sf.make(WalkGym, envs=2)


@pytest.mark.parametrize("amount", [Steps(12), Episodes(3)])
@pytest.mark.parametrize("weight", [None, 0.0, 0.7])
def test_rewards_follow_the_formula_and_all_else_stays(world, amount, weight):
    key = jax.random.key(3)
    _, plain = collect(world.fresh(key), Always(), amount, key)
    changed = relabel(world, distance, prior_weight=weight, discount=0.9)
    _, batch = collect(changed.fresh(key), Always(), amount, key)
    now = 2 * np.asarray(plain.observation)[..., 0] - np.asarray(plain.observation)[..., 1]
    after = 2 * np.asarray(plain.next_observation)[..., 0] - np.asarray(plain.next_observation)[..., 1]
    after = np.where(plain.terminated, 0.0, after)
    wanted = now if weight is None else np.asarray(plain.reward) + weight * (0.9 * after - now)
    np.testing.assert_allclose(batch.reward, wanted, atol=1e-5)
    for field in dataclasses.fields(plain):
        if field.name != "reward":
            for a, b in zip(
                jax.tree.leaves(getattr(batch, field.name)),
                jax.tree.leaves(getattr(plain, field.name)),
                strict=True,
            ):
                np.testing.assert_array_equal(a, b)


def test_a_prior_pays_nothing_for_an_early_end(world):
    """A constant prior: without a discount each episode that terminated is paid -w r, whatever its length."""
    key = jax.random.key(3)
    _, plain = collect(world.fresh(key), Always(), Episodes(16), key)
    changed = relabel(world, lambda states: 5.0 + 0 * states[..., 0], prior_weight=0.7, discount=1.0)
    _, batch = collect(changed.fresh(key), Always(), Episodes(16), key)
    extra = np.sum((np.asarray(batch.reward) - plain.reward) * plain.valid, axis=0)
    ended, lengths = np.asarray(plain.terminated).any(axis=0), np.asarray(plain.valid).sum(axis=0)
    assert len(set(lengths[ended])) > 1 and not ended.all()
    np.testing.assert_allclose(extra, np.where(ended, -3.5, 0.0), atol=1e-5)


def test_steps_go_on_where_the_world_stands(world):
    key = jax.random.key(0)
    after, batch = collect(relabel(world, distance).fresh(key), Always(), Steps(4), key)
    assert isinstance(after, RelabelledWorld)
    _, later = collect(after, Always(), Steps(4), key)
    # Before an episode can end, the time in the observation only rises.
    assert np.all(np.asarray(later.observation)[0, :, 1] > np.asarray(batch.observation)[0, :, 1])


def test_a_world_that_can_be_saved_still_can():
    pytest.importorskip("mujoco")
    policy, key = Push(), jax.random.key(1)
    world = relabel(sf.make("FixedHopper-v0", envs=2, horizon=30), lambda s: s[..., 0])
    assert world.can_save and not relabel(sf.make(WalkGym, envs=2), distance).can_save
    world, _ = collect(world, policy, Steps(40), key)
    saved = {name: value.copy() for name, value in world.save().items()}
    other = world.restored(saved)
    assert isinstance(other, RelabelledWorld)
    (world, whole), (_, again) = (collect(each, policy, Steps(40), key) for each in (world, other))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole.reward, whole.observation[..., 0])
    world.close()
    with pytest.raises(SurefootError, match="was closed"):
        world.save()


@pytest.mark.parametrize(
    ("reward", "options", "message"),
    [
        (lambda s: s @ jnp.ones(3), {}, "does not fit .* have 2 numbers"),
        (lambda s: s, {}, r"one number for each state.*\(2, 3, 2\)"),
        (distance, {"prior_weight": -1.0}, "prior_weight = -1.0"),
        (distance, {"prior_weight": math.nan}, "prior_weight = nan"),
        (distance, {"discount": 1.5}, "discount = 1.5"),
    ],
)
def test_what_does_not_fit_is_refused(reward, options, message):
    with pytest.raises(SurefootError, match=message):
        relabel(walk_world(), reward, **options)


SMALL = DiscreteSac(hidden=(4,), steps_per_iteration=8, warm_up=8, batch_size=8, replay_capacity=64)


def test_a_run_learns_from_it_and_logs_the_environments_own_return(tmp_path):
    """The walk's own reward is 0.1 in size; the other one is up to 6."""
    runs = [
        fit(SMALL, world, steps=64, run=tmp_path / str(i), progress=False)
        for i, world in enumerate((walk_world(), relabel(walk_world(), lambda s: distance(s) + 100)))
    ]
    assert np.nanmax(np.abs(runs[1].metrics()["return"])) < 0.75
    plain, other = (run.metrics()["critic_loss"] for run in runs)
    assert np.nanmax(plain) < 100 < np.nanmin(other)
    assert runs[0].config["reward"] is None
    assert runs[1].config["reward"] == {"path": None}


def test_without_the_function_the_rest_cannot_be_trained(tmp_path):
    world = relabel(walk_world(), distance)
    run = fit(SMALL, world, steps=64, run=tmp_path / "run", progress=False)
    for checkpoint in run.checkpoints():
        checkpoint.unlink()
    with pytest.raises(SurefootError, match="was a function"):
        resume(run, progress=False)
    with pytest.raises(SurefootError, match="trained with the reward"):
        resume(run, walk_world(), progress=False)
