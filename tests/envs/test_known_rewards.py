"""Known rewards and ends against what Gymnasium's own simulators say, step by step."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.envs._mujoco import quiet
from surefoot.envs.known_rewards import KNOWN, known, reward_of, termination_of
from surefoot.errors import SurefootError
from surefoot.task import Box
from surefoot.worlds import make

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

TOLERANCE = {"HalfCheetah": (0.12, 0.5), "Hopper": (0.01, 0.08), "Walker2d": (0.03, 0.2), "Ant": (0.12, 0.8)}
"""Root mean square, and largest, error of the forward velocity, in m/s; explained in the module."""
STEPS = 400
BODIES = ("HalfCheetah", "Hopper", "Walker2d", "Ant", "InvertedPendulum")


def recorded(name):
    """Steps of random actions, half of them smooth and therefore faster, restarts included."""
    with quiet():
        env = gymnasium.make(name, disable_env_checker=True)
        rng, low, high = np.random.default_rng(1), env.action_space.low, env.action_space.high
        before, _ = env.reset(seed=1)
        held, rows = np.zeros(low.shape), []
        for t in range(STEPS):
            drawn = rng.uniform(low, high)
            held = 0.8 * held + 0.4 * drawn
            action = np.clip(held if t > STEPS // 2 else drawn, low, high)
            after, reward, terminated, _, info = env.step(action)
            rows.append((before, action, after, reward, terminated, info.get("x_velocity", 0.0)))
            before = env.reset()[0] if terminated else after
        env.close()
    return [jnp.array(np.array(column, np.float32)) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("name", [f"{body}-v5" for body in BODIES] + ["surefoot/FixedAnt-v0"])
def test_step_by_step_as_gymnasium(name):
    before, action, after, reward, terminated, velocity = recorded(name)
    found = known(f"gymnasium:{name}")
    ends = np.asarray(found.termination(before, action, after))
    np.testing.assert_array_equal(ends, terminated > 0)
    error = np.asarray(found.reward(before, action, after)) - reward
    if "InvertedPendulum" in name:
        np.testing.assert_array_equal(error, 0)
        assert 10 < ends.sum() < STEPS / 2
        return
    body = name.removeprefix("surefoot/Fixed").partition("-")[0]
    index, share = {"HalfCheetah": (8, 0.6), "Hopper": (5, 0.5), "Walker2d": (8, 0.5), "Ant": (13, 0.5)}[body]
    guessed = (1 - share) * before[:, index] + share * after[:, index]
    # All but the velocity is exact ...
    np.testing.assert_allclose(error, guessed - velocity, atol=1e-4)
    # ... and that is as near as the module says.
    square, largest = TOLERANCE[body]
    assert np.sqrt(np.mean(error**2)) < square
    assert np.abs(error).max() < largest
    assert abs(np.mean(error)) < square / 3
    alone = after[:, index] - velocity
    assert np.sqrt(np.mean(error**2)) < 0.6 * np.sqrt(np.mean(alone**2))


def test_version_4_pays_the_bonus_at_the_last_step_too():
    fallen = jnp.zeros(11)  # height 0
    assert known("Hopper-v4").termination(fallen, jnp.zeros(3), fallen)
    assert known("Hopper-v4").reward(fallen, jnp.zeros(3), fallen) == 1
    assert known("Hopper-v5").reward(fallen, jnp.zeros(3), fallen) == 0


@pytest.mark.parametrize(
    "name, entry, edge",
    [
        ("Hopper-v5", 0, 0.7),
        ("Hopper-v5", 1, -0.2),
        ("Hopper-v5", 8, -100.0),
        ("Walker2d-v5", 0, 2.0),
        ("Walker2d-v5", 1, 1.0),
        ("Ant-v5", 0, 1.0),
        ("InvertedPendulum-v5", 1, -0.2),
    ],
)
def test_ends_where_the_rule_says(name, entry, edge):
    """A little on either side of a bound; those of large negative values are easily lost."""
    sizes = {"Hopper": (11, 1.25), "Walker2d": (17, 1.25), "Ant": (105, 0.75), "InvertedPendulum": (4, 0.0)}
    size, height = sizes[name.partition("-")[0]]
    standing = jnp.zeros((3, size)).at[:, 0].set(height)
    standing = standing.at[:, entry].set(jnp.array([edge * 0.999, edge * 1.001, jnp.nan]))
    ends = known(name).termination(standing, jnp.zeros((3, 1)), standing)
    inside_first = not (name.startswith("Hopper") and entry == 0)
    np.testing.assert_array_equal(np.asarray(ends), [not inside_first, inside_first, True])


def test_an_environment_without_one_says_so():
    with pytest.raises(SurefootError, match="No reward is known for 'gymnasium:Humanoid-v5'"):
        known("gymnasium:Humanoid-v5")
    assert len(KNOWN) == 14


# Environments that were made with options ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "ends", "pays"),
    [
        ("gymnasium:Hopper-v5", {}, True, True),
        ("gymnasium:Hopper-v5", {"reset_noise_scale": 0.1, "healthy_z_range": [0.7, np.inf]}, True, True),
        ("gymnasium:Hopper-v5", {"ctrl_cost_weight": 1.0}, True, False),
        ("gymnasium:Hopper-v5", {"terminate_when_unhealthy": False}, False, False),
        ("gymnasium:Hopper-v5", {"healthy_angle_range": [-0.5, 0.5]}, False, False),
        ("gymnasium:Hopper-v5", {"exclude_current_positions_from_observation": False}, False, False),
        ("gymnasium:HalfCheetah-v5", {"forward_reward_weight": 2.0}, True, False),
        ("gymnasium:Ant-v5", {"include_cfrc_ext_in_observation": False}, False, False),
        ("FixedHopper-v0", {}, True, True),
        ("FixedAnt-v0", {}, True, True),
        ("FixedHopper-v0", {"absorbing": True}, False, False),
    ],
)
def test_what_is_known_is_that_of_the_environment_as_it_was_made(name, options, ends, pays):
    with quiet():
        task = make(name, envs=1, env_options=options).task
    for function, holds in ((termination_of, ends), (reward_of, pays)):
        if holds:
            function(task)
        else:
            with pytest.raises(SurefootError, match=f"'{name}' was made with {next(iter(options))}, so its"):
                function(task)


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_every_size_is_that_of_the_environment():
    """Also where the name alone says which environment it is: the factory may have wrapped it."""
    for name, found in KNOWN.items():
        with quiet():
            task = make(name if name.startswith("Fixed") else f"gymnasium:{name}", envs=1).task
        assert task.options == () and task.observation.size == found.size
    wide = replace(task, observation=Box((3,), (0.0,) * 3, (0.0,) * 3))
    for function in (termination_of, reward_of):
        with pytest.raises(SurefootError, match="'FixedAnt-v0' shows 3 numbers in place of 27"):
            function(wide)
