"""Gymnasium environments with another reward: against relabelled worlds, and one clear line for bad input."""

from __future__ import annotations

import math
import warnings

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import surefoot as sf
from surefoot.errors import SurefootError
from surefoot.networks.rewards import RewardNetwork
from surefoot.training.reward_io import load_reward, save_reward
from surefoot.worlds.world import Steps
from training.tiny import Walk, WalkGym


class Always(eqx.Module):
    def act(self, observation, key):
        return jax.random.bernoulli(key).astype(jnp.int32)


@pytest.fixture
def learned(tmp_path):
    save_reward(tmp_path, [RewardNetwork.create((0, 1), 8, jax.random.key(1))], Walk().task, (0,))
    return load_reward(tmp_path)


@pytest.mark.parametrize("weight", [None, 0.0, 0.7])
def test_equals_a_relabelled_world_step_for_step(learned, weight):
    """Over several episodes, some terminated and some truncated."""
    key = jax.random.key(0)

    def collected(world):
        return world.fresh(key).collect(Always(), Steps(80), key)[1]

    theirs = collected(sf.relabel(sf.make(WalkGym, envs=2), learned, prior_weight=weight, discount=0.9))
    made = sf.make(lambda: sf.RelabelReward(WalkGym(), learned, weight, 0.9), envs=2)
    ours = collected(made)
    np.testing.assert_allclose(ours.reward, theirs.reward, atol=1e-5)
    np.testing.assert_array_equal(ours.next_observation, theirs.next_observation)
    assert np.asarray(ours.terminated).any() and np.asarray(ours.truncated).any()
    assert np.std(ours.reward) > (0 if weight == 0 else 1e-3)


def test_the_environments_own_reward_is_in_info():
    env = sf.RelabelReward(WalkGym(), lambda states: 2 * states[..., 0] - states[..., 1])
    before, info = env.reset(seed=0)
    assert info == {"cost": 0.0}
    for action in (1, 0, 0):
        after, reward, _, _, info = env.step(action)
        assert reward == pytest.approx(2 * before[0] - before[1], abs=1e-6)
        assert info["environment_reward"] == -0.1 and "cost" in info
        before = after


def test_numbers_of_a_discrete_space_are_seen_one_hot():
    env = gymnasium.make("FrozenLake-v1", is_slippery=False)
    env = sf.RelabelReward(env, lambda states: states @ np.arange(16.0))
    env.reset(seed=0)
    assert [env.step(action)[1] for action in (1, 2, 0)] == [0, 4, 5]  # cells 0, 4 and 5 were left


def test_gymnasiums_checker_has_no_complaint(learned):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version.*")
        check_env(sf.RelabelReward(WalkGym(), learned), skip_render_check=True)


def test_it_can_be_made_again_and_put_into_vectors(tmp_path):
    task = sf.make("PointMass-v0", envs=1).task
    save_reward(tmp_path, [RewardNetwork.create((0, 1), 8, jax.random.key(1))], task, (0,))
    reward = load_reward(tmp_path)
    env = sf.RelabelReward(gymnasium.make("surefoot/PointMass-v0"), reward, prior_weight=0.5)
    again = gymnasium.make(env.spec)
    many = gymnasium.make_vec(
        "surefoot/PointMass-v0", 2, "sync", wrappers=[lambda env: sf.RelabelReward(env, reward, 0.5)]
    )
    env.reset(seed=0), again.reset(seed=0), many.reset(seed=0)
    for action in np.random.default_rng(0).uniform(0, 1, (5, 2)).astype(np.float32):
        expected = env.step(action)[1]
        assert again.step(action)[1] == expected
        np.testing.assert_array_equal(many.step(np.stack([action, action]))[1], [expected, expected])


@pytest.mark.parametrize(
    ("reward", "options", "message"),
    [
        (lambda s: s @ np.ones(3), {}, "does not fit 'WalkGym', whose states have 2 numbers"),
        (lambda s: s[..., 5], {}, "does not fit 'WalkGym', whose states have 2 numbers"),
        (lambda s: s, {}, r"one number for each state.*\(2, 3, 2\) it gave \(2, 3, 2\)"),
        (lambda s: s[..., 0], {"prior_weight": -1.0}, "prior_weight = -1.0"),
        (lambda s: s[..., 0], {"prior_weight": math.inf}, "prior_weight = inf"),
        (lambda s: s[..., 0], {"discount": 1.5}, "discount = 1.5"),
    ],
    ids=["three", "sixth", "vector", "negative", "infinite", "discount"],
)
def test_what_does_not_fit_is_refused(reward, options, message):
    with pytest.raises(SurefootError, match=message):
        sf.RelabelReward(WalkGym(), reward, **options)


def test_a_reward_from_elsewhere_is_one_clear_line(learned):
    with pytest.raises(SurefootError, match="does not fit 'CartPole-v1', whose states have 4") as error:
        sf.RelabelReward(gymnasium.make("CartPole-v1"), learned)
    assert "was learned on Walk, whose states have 2 numbers" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_step_before_the_first_episode_and_a_reward_that_is_nan():
    env = sf.RelabelReward(WalkGym(), lambda states: states[..., 0] * math.nan)
    with pytest.raises(SurefootError, match=r"call reset\(\) before step"):
        env.step(0)
    with pytest.raises(SurefootError, match="the reward is nan at the observation"):
        env.reset(seed=0)
