"""Many bodies at once: each against a single environment, to the bit."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from surefoot.envs import vector
from surefoot.errors import SurefootError
from surefoot.worlds.gym_world import GymWorld
from surefoot.worlds.vector_world import VectorWorld
from surefoot.worlds.world import Episodes, Steps

pytest.importorskip("mujoco")
os.environ.setdefault("MUJOCO_GL", "egl")

NAMES = ("FixedHopper-v0", "FixedWalker2d-v0", "FixedHalfCheetah-v0", "FixedAnt-v0")
ENVS = 3


class Wild:
    """Actions by chance, so that bodies fall."""

    def __init__(self, actions: int) -> None:
        self.actions = actions

    def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (self.actions,), minval=-1.0, maxval=1.0)


@pytest.mark.parametrize("absorbing", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_each_body_plays_as_a_single_one_does(name: str, absorbing: bool) -> None:
    options: Any = {"absorbing": absorbing, "max_episode_steps": 120}
    many = vector(name)(num_envs=ENVS, autoreset_mode="Disabled", **options)
    singles = [gymnasium.make(f"surefoot/{name}", **options) for _ in range(ENVS)]
    seen, _ = many.reset(seed=[7, 8, 9])
    np.testing.assert_array_equal(seen, [env.reset(seed=7 + i)[0] for i, env in enumerate(singles)])
    rng = np.random.default_rng(0)
    ends = 0
    for step in range(150):
        actions = rng.uniform(-1, 1, many.action_space.shape).astype(np.float32)
        observation, reward, terminated, truncated, info = many.step(actions)
        for i, env in enumerate(singles):
            theirs = env.step(actions[i])
            np.testing.assert_array_equal(observation[i], theirs[0])
            assert (reward[i], terminated[i], truncated[i]) == theirs[1:4]
            assert info["absorbed"][i] == theirs[4]["absorbed"]
            if terminated[i] or truncated[i]:
                ends += 1
                seed: list[int | None] = [None] * ENVS
                seed[i] = 100 + step
                observation, _ = many.reset(seed=seed, options={"reset_mask": np.arange(ENVS) == i})
                np.testing.assert_array_equal(observation[i], env.reset(seed=100 + step)[0])
    assert ends >= ENVS


@pytest.mark.parametrize("name", NAMES)
def test_a_world_of_them_gives_the_numbers_of_single_ones(name: str) -> None:
    many, singles = sf.make(name, envs=4), sf.make(f"gymnasium:surefoot/{name}", envs=4)
    assert isinstance(many, VectorWorld) and isinstance(singles, GymWorld)
    assert many.task.horizon == singles.task.horizon == 1000
    policy = Wild(many.task.action.size)
    for amount in (Steps(80), Steps(80)):
        many, ours = many.collect(policy, amount, jax.random.key(1))
        singles, theirs = singles.collect(policy, amount, jax.random.key(1))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(a, b)


def test_whole_episodes_too_and_a_fall_may_be_absorbing() -> None:
    class Still:
        def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
            return jnp.zeros(6)

    worlds = [sf.make(n, envs=2, horizon=150, absorbing=True) for n in
              ("FixedWalker2d-v0", "gymnasium:surefoot/FixedWalker2d-v0")]  # fmt: skip
    ours, theirs = (world.collect(Still(), Episodes(3), jax.random.key(0))[1] for world in worlds)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (np.asarray(ours.reward[-1]) == 0).all()  # all have fallen, and lie


@pytest.mark.parametrize("name", NAMES)
def test_goes_on_to_the_bit_where_it_was_saved(name: str) -> None:
    options: Any = {"num_envs": ENVS, "max_episode_steps": 30}
    rng = np.random.default_rng(3)
    actions = rng.uniform(-1, 1, (80, ENVS, vector(name)().single_action_space.shape[0])).astype(np.float32)
    first, second = (vector(name)(**options, threads=n) for n in (1, 2))
    first.reset(seed=0)
    for action in actions[:40]:
        first.step(action)
    saved = first.save()
    expected = [first.step(action)[:4] for action in actions[40:]]  # with resets from its own streams
    second.reset(seed=99)
    second.restore({key: value.copy() for key, value in saved.items()})
    for action, theirs in zip(actions[40:], expected, strict=True):
        for a, b in zip(second.step(action)[:4], theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(SurefootError, match="another kind or number"):
        vector(name)(num_envs=ENVS + 1).restore(saved)


def test_who_has_ended_waits_for_its_reset() -> None:
    many = vector("FixedHopper-v0")(num_envs=2, autoreset_mode="Disabled", max_episode_steps=200)
    many.reset(seed=0)
    still = np.zeros((2, 3), np.float32)
    while True:
        fallen, _, terminated, _, _ = many.step(still)
        if terminated.any():
            break
    first = int(np.flatnonzero(terminated)[0])
    after, reward, ended, _, _ = many.step(still)
    np.testing.assert_array_equal(after[first], fallen[first])
    assert reward[first] == 0 and ended[first]
    again, _ = many.reset(seed=[7, 7], options={"reset_mask": np.arange(2) == first})
    moved, reward, ended, _, _ = many.step(still)
    assert not ended[first] and reward[first] != 0 and (moved[first] != again[first]).any()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_resets_by_itself_as_gymnasiums_vectors_do(mode: str) -> None:
    name = "surefoot/FixedHopper-v0"
    ours = gymnasium.make_vec(
        name, num_envs=ENVS, vectorization_mode="vector_entry_point", autoreset_mode=mode
    )
    theirs = gymnasium.make_vec(
        name,
        num_envs=ENVS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode(mode)},
    )
    np.testing.assert_array_equal(ours.reset(seed=5)[0], theirs.reset(seed=5)[0])
    rng, ends = np.random.default_rng(0), 0
    for _ in range(100):
        actions = rng.uniform(-1, 1, (ENVS, 3)).astype(np.float32)
        a, b = ours.step(actions), theirs.step(actions)
        for x, y in zip(a[:4], b[:4], strict=True):
            np.testing.assert_array_equal(x, y)
        ended = a[2] | a[3]
        ends += ended.sum()
        if mode == "SameStep" and ended.any():
            for i in np.flatnonzero(ended):
                np.testing.assert_array_equal(a[4]["final_obs"][i], b[4]["final_obs"][i])
    assert ends > ENVS
    ours.close()
    theirs.close()


def test_wrong_use_is_refused_clearly() -> None:
    many = vector("FixedHopper-v0")(num_envs=2, threads=1)
    with pytest.raises(SurefootError, match=r"call reset\(\) before step"):
        many.step(np.zeros((2, 3)))
    many.reset(seed=0)
    for actions in (np.zeros((2, 2)), np.full((2, 3), np.nan)):
        with pytest.raises(SurefootError, match="finite numbers"):
            many.step(actions)
    with pytest.raises(SurefootError, match="3 seeds for 2 bodies"):
        many.reset(seed=[1, 2, 3])
    with pytest.raises(SurefootError, match="num_envs"):
        vector("FixedHopper-v0")(num_envs=0)
