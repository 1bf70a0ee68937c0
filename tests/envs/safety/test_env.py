"""The safety tasks with Gymnasium's face: single, as a vector, and as a world."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import equinox as eqx
import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from jaxtyping import Array

import surefoot as sf
from surefoot.envs import VECTORS
from surefoot.envs.safety import TASKS, SafetyEnv, SafetyVectorEnv, Task
from surefoot.envs.safety.env import made_task
from surefoot.errors import SurefootError
from surefoot.training import fit
from surefoot.worlds.gym_world import GymWorld
from surefoot.worlds.vector_world import VectorWorld
from surefoot.worlds.world import Episodes, Steps

pytest.importorskip("mujoco")
BUSY: dict[str, Any] = {"extent": 0.9, "robot_keepout": 0.2, "hazards": 3, "goal_radius": 0.5}
"""Changes that make goals and costs frequent."""


class Policy(eqx.Module):
    """Goes ahead and turns, by chance."""

    size: int = eqx.field(static=True)

    def act(self, observation: Array, key: Array) -> Array:
        return jax.random.uniform(key, (self.size,), minval=-0.5, maxval=1.0)


@pytest.mark.parametrize("name", TASKS)
def test_gymnasiums_checker(name: str) -> None:
    env = gymnasium.make(f"surefoot/Safety{name}-v0", disable_env_checker=True).unwrapped
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*observation space (min|max)imum value is.*infinity.*")
        check_env(env, skip_render_check=True)
    env.close()


def test_a_seed_fixes_an_episode() -> None:
    one, two = SafetyEnv("CarGoal2"), SafetyEnv("CarGoal2")
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 2))

    def play(env: SafetyEnv, seed: int | None) -> np.ndarray:
        first, _ = env.reset(seed=seed)
        return np.stack([first, *(env.step(action)[0] for action in actions)])

    first = play(one, 7)
    np.testing.assert_array_equal(first, play(two, 7))
    second = play(one, None)  # the stream goes on
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, play(two, None))
    assert not np.array_equal(first, play(two, 8))
    np.testing.assert_array_equal(first, play(one, 7))


def test_info_carries_costs_by_kind_and_their_total() -> None:
    env = SafetyEnv("PointGoal2", cost_form="kinds", **BUSY)
    _, info = env.reset(seed=0)
    assert info["constraints"] == env.task.costs == ("hazards", "vases_contact", "vases_velocity")
    env.simulation.hazards[0, 0] = env.simulation.robot[0, :2]
    seen = np.zeros(3)
    for _ in range(200):
        _, _, terminated, _, info = env.step(np.array([1.0, 0.3]))
        assert not terminated
        kinds = info["raw_costs"] > 0
        np.testing.assert_array_equal(info["costs"], kinds)
        np.testing.assert_array_equal(info["cost"], kinds)
        assert info["cost_total"] == float(kinds.any())
        seen += kinds
    assert (seen > 0).all() and seen.sum() > info["cost_total"]
    total = SafetyEnv("PointGoal2", **BUSY)
    total.reset(seed=0)
    info = total.step(np.zeros(2))[4]
    assert info["constraints"] == ("cost",) and info["cost"] == info["cost_total"]


def test_the_vector_plays_as_single_environments_do() -> None:
    """Step for step, over ends of episodes, in all three ways to reset."""
    changes = {"steps": 12, **BUSY}
    actions = np.random.default_rng(1).uniform(-1, 1, (40, 3, 2))
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
        vector = SafetyVectorEnv("PointGoal1", 3, autoreset_mode=mode, threads=1, **changes)
        envs = [SafetyEnv("PointGoal1", **changes) for _ in range(3)]
        observation, _ = vector.reset(seed=[4, 5, 6])
        for i, env in enumerate(envs):
            np.testing.assert_array_equal(observation[i], env.reset(seed=4 + i)[0])
        ended = np.zeros(3, bool)
        for action in actions:
            if mode == AutoresetMode.DISABLED and ended.any():
                observation, _ = vector.reset(options={"reset_mask": ended})
                for i in np.flatnonzero(ended):
                    np.testing.assert_array_equal(observation[i], envs[i].reset()[0])
            observation, reward, terminated, truncated, info = vector.step(action)
            for i, env in enumerate(envs):
                if mode == AutoresetMode.NEXT_STEP and ended[i]:
                    np.testing.assert_array_equal(observation[i], env.reset()[0])
                    assert reward[i] == 0 and not truncated[i] and info["cost"][i] == 0
                    continue
                expected, earned, _, end, single = env.step(action[i])
                assert (reward[i], truncated[i]) == (earned, end)
                for name in ("cost", "cost_total", "goal_met", "goal_failed", "physics_failed"):
                    assert info[name][i] == single[name]
                np.testing.assert_array_equal(info["raw_costs"][i], single["raw_costs"])
                if mode == AutoresetMode.SAME_STEP and end:
                    np.testing.assert_array_equal(info["final_obs"][i], expected)
                    expected = env.reset()[0]
                np.testing.assert_array_equal(observation[i], expected)
            ended = truncated.copy()
            assert not terminated.any()
        vector.close()


def test_save_and_restore_of_environments() -> None:
    env, vector = SafetyEnv("CarPush2"), SafetyVectorEnv("CarPush2", 2, threads=1, steps=30)
    env.reset(seed=0)
    vector.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 2))

    def ahead() -> tuple[np.ndarray, np.ndarray]:
        one = [env.step(action)[0] for action in actions[20:]]
        two = [vector.step(np.stack([action, -action]))[0] for action in actions[20:]]
        return np.stack(one), np.stack(two)

    for action in actions[:20]:
        env.step(action)
        vector.step(np.stack([action, -action]))
    saved = env.save(), vector.save()
    first = ahead()
    env.restore(saved[0])
    vector.restore(saved[1])
    again = ahead()
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_worlds_of_either_kind_give_the_same_numbers() -> None:
    options = {"steps": 15, **BUSY, "hazard_radius": 0.6}
    many = sf.make("SafetyPointGoal1-v0", envs=3, seed=2, threads=1, **options)
    each = sf.make("gymnasium:surefoot/SafetyPointGoal1-v0", envs=3, seed=2, **options)
    assert isinstance(many, VectorWorld) and isinstance(each, GymWorld)
    assert many.task.horizon == 15 and many.task.constraints == ("cost",)
    policy, key, cost = Policy(2), jax.random.key(0), 0.0
    for amount in (Steps(60), Steps(30), Episodes(5), Episodes(2)):
        many, one = many.collect(policy, amount, key)
        each, two = each.collect(policy, amount, key)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
        cost += float(one.cost.sum())
    assert cost > 0
    old, _ = many.collect(policy, Steps(3), key)
    with pytest.raises(SurefootError, match="its simulators have moved on"):
        many.collect(policy, Steps(3), key)
    again = sf.worlds.from_description(sf.worlds.describe(many))
    assert isinstance(again, VectorWorld) and again.task == many.task
    many.close()
    with pytest.raises(SurefootError, match="was closed"):
        old.collect(policy, Steps(3), key)


def test_a_world_goes_on_where_it_was_saved() -> None:
    """To the bit, in the middle of episodes and at their start, through what a file can hold."""
    options: dict[str, Any] = {"threads": 1, "steps": 12, **BUSY}
    world = sf.make("SafetyPointGoal1-v0", envs=3, **options)
    assert isinstance(world, VectorWorld) and world.can_save
    policy, key = Policy(2), jax.random.key(3)
    form = world.save()
    begun, _ = world.restored(form).collect(policy, Steps(30), key)
    world, _ = world.collect(policy, Steps(30), key)
    for one, two in ((begun.save(), world.save()), (form, begun.fresh(key).save())):
        assert [(k, v.shape, v.dtype) for k, v in one.items()] == [
            (k, v.shape, v.dtype) for k, v in two.items()
        ]
    saved = {name: value.copy() for name, value in world.save().items()}
    other = world.restored(saved)
    assert other.save() is saved  # nothing has moved yet
    _, whole = world.collect(policy, Steps(60), key)
    _, again = other.collect(policy, Steps(60), key)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert bool(whole.truncated.any()) and not bool(whole.truncated[0].any())
    with pytest.raises(SurefootError, match="its simulators have moved on"):
        world.save()


def test_worlds_with_costs_by_kind_and_with_functions() -> None:
    world = sf.make("SafetyCarGoal2-v0", envs=2, cost_form="kinds", constraints=("vases_contact",), steps=5)
    assert isinstance(world, VectorWorld) and world.task.constraints == ("vases_contact",)
    _, batch = world.collect(Policy(2), Steps(10), jax.random.key(0))
    assert batch.cost.shape == (5, 2, 1)
    mine = sf.make("SafetyPointGoal1-v0", envs=2, cost=_high, constraints=("high",))
    assert isinstance(mine, GymWorld) and mine.task.constraints == ("high",)
    marked = sf.make("SafetyPointGoal1-v0", envs=2, success="goal_met", **BUSY)
    _, batch = marked.collect(Policy(2), Steps(200), jax.random.key(0))
    assert marked.task.reports_success and bool(batch.success.any())


def _high(observation: Any, action: Any, after: Any, info: Any) -> float:
    return float(after[0] > 0)


def test_a_vector_that_resets_by_itself_is_refused() -> None:
    def vector(envs: int) -> Any:
        return SafetyVectorEnv("PointGoal1", envs)

    world = VectorWorld.create(SafetyEnv, vector, 2, jax.random.key(0))
    with pytest.raises(SurefootError, match=r"make it with AutoresetMode\.DISABLED"):
        world.collect(Policy(2), Steps(2), jax.random.key(0))


def test_registered_as_vectors_too() -> None:
    assert sum(name.startswith("Safety") for name in VECTORS) == 12
    vector = gymnasium.make_vec(
        "surefoot/SafetyDoggoPush1-v0", num_envs=2, vectorization_mode="vector_entry_point"
    )
    observation, info = vector.reset(seed=0)
    assert observation.shape == (2, 120) and info["cost"].tolist() == [0.0, 0.0]
    vector.close()


def test_a_task_of_ones_own() -> None:
    env = SafetyEnv(Task(robot="car", hazards=12, vases=0))
    observation, _ = env.reset(seed=0)
    assert observation.shape == (24 + 2 * 16,)
    assert env.simulation.hazards.shape == (1, 12, 2)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"hazard": 3}, "Did you mean 'hazards'"),
        ({"action_noise": 0.1}, "Unknown option"),
        ({"vases_displace_cost": 1.0}, "Unknown option"),
        ({"reward_orientation": True}, "Unknown option"),
        ({"cost_form": "sum"}, "Unknown cost_form 'sum'"),
        ({"camera": "tops"}, "Did you mean 'top'"),
        ({"render_mode": "human"}, "Unknown render_mode"),
    ],
)
def test_options_that_do_not_exist(options: dict, words: str) -> None:
    for make in (SafetyEnv, SafetyVectorEnv):
        with pytest.raises(SurefootError) as caught:
            make(**options)
        assert words in str(caught.value)


def test_what_is_no_task_is_told() -> None:
    with pytest.raises(SurefootError, match="task is a int"):
        inspect.unwrap(made_task)(3, {})  # types are checked while testing, which would come first


def test_calls_out_of_order_and_odd_actions() -> None:
    env, vector = SafetyEnv(), SafetyVectorEnv(num_envs=2, threads=1)
    for one, shape in ((env, 2), (vector, (2, 2))):
        with pytest.raises(SurefootError, match=r"call reset\(\) before step"):
            one.step(np.zeros(shape))
    env.reset(seed=0)
    vector.reset(seed=0)
    with pytest.raises(SurefootError, match="give finite numbers"):
        env.step(np.array([np.nan, 0.0]))
    with pytest.raises(SurefootError, match="give finite numbers"):
        vector.step(np.zeros((3, 2)))
    with pytest.raises(SurefootError, match="3 seeds for 2 worlds"):
        vector.reset(seed=[1, 2, 3])


def test_public_names() -> None:
    assert sf.envs.safety.Task is Task
    assert sf.envs.safety.SafetyEnv is SafetyEnv
    with pytest.raises(AttributeError, match="no attribute 'safe'"):
        _ = sf.envs.safe


def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, though the kill comes in the middle of episodes."""
    options: dict[str, Any] = {"threads": 1, "steps": 50, **BUSY}

    def train(name: str) -> Any:
        learner = sf.algorithms.algorithm("ppo")(batch_steps=64, minibatch=32, passes=1, hidden=(8,))
        world = sf.make("SafetyPointGoal1-v0", envs=2, **options)
        run = tmp_path / name
        return sf.fit(learner, world, steps=256, run=run, log_every=64, checkpoint_every=0.0, progress=False)

    def killed(*words: Any) -> None:
        saved(*words)
        if words[3] == 2:
            raise KeyboardInterrupt

    whole = train("whole")
    saved = fit._save
    monkeypatch.setattr(fit, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        train("part")
    monkeypatch.undo()
    part = sf.resume(tmp_path / "part", progress=False)
    assert part.finished
    for file in ("metrics.csv", "policy/seed-0.safetensors"):
        assert (part.path / file).read_bytes() == (whole.path / file).read_bytes()
