"""Demonstrations from one's own controller, and the example that is built on them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from surefoot.data.trajectories import episode_metrics
from surefoot.errors import SurefootError
from surefoot.worlds.world import Episodes, Steps
from training.tiny import WalkGym

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_environment.py"


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("own_environment", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lake(example: Any) -> Any:
    return sf.make(
        example.lake, envs=4, cost=example.thin_ice, constraints=("thin_ice",), success=example.crossed
    )


class Straight:
    """Across the thin ice."""

    def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.asarray(2, jnp.int32)


class Right:
    def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.asarray(1, jnp.int32)


def test_discrete_actions_are_integers(lake: Any) -> None:
    assert lake.adapter.decode(np.array(1), 1) == 1
    with pytest.raises(SurefootError, match=r"the policy's action 0\.7 is no integer"):
        lake.adapter.decode(np.array(0.7), 1)


def test_the_careful_person_is_clean(example: Any, lake: Any) -> None:
    demos = sf.worlds.demonstrate(lake, example.KnowsTheLake(), episodes=10, name="mine")
    demos.check(lake.task)
    assert (demos.name, demos.episodes, demos.constraints) == ("mine", 10, ("thin_ice",))
    np.testing.assert_array_equal(demos.lengths, 10)
    np.testing.assert_array_equal(demos.actions[:10], [3, 3, 2, 2, 2, 2, 2, 2, 1, 1])
    np.testing.assert_array_equal(np.argmax(demos.observations[:10], axis=1)[:3], [14, 7, 0])
    np.testing.assert_array_equal(np.argmax(demos.final_observations, axis=1), 20)
    np.testing.assert_allclose(demos.returns, 10 - 10 * 0.1, atol=1e-5)
    assert demos.violating_steps.sum() == 0
    assert demos.terminations[9]
    assert not demos.terminations[:9].any()
    assert demos.metadata["played"]["dropped"] == 0


def test_violating_episodes_are_dropped_and_counted(lake: Any) -> None:
    with pytest.raises(SurefootError, match="0 did not succeed, 5 violated"):
        sf.worlds.demonstrate(lake, Straight(), episodes=5)
    demos = sf.worlds.demonstrate(lake, Straight(), episodes=5, keep_all=True)
    np.testing.assert_array_equal(demos.violating_steps[:, 0], 3)
    assert demos.metadata["played"]["violating"] == 5


def test_failed_episodes_are_dropped() -> None:
    world = sf.make("MarbleMaze-v0", envs=4, constraints=())
    with pytest.raises(SurefootError, match="3 did not succeed"):
        sf.worlds.demonstrate(world, Straight(), episodes=3)


def test_an_episode_succeeds_if_any_of_its_steps_does() -> None:
    """Here at x = 1, which those that start at -1 and 0 pass before they end at x = 3."""
    world = sf.make(WalkGym, envs=3, success=lambda raw, action, after, info: after[0] == 1)
    demos = sf.worlds.demonstrate(world, Right(), episodes=12, keep_all=True)
    missed = int((demos.observations[demos.offsets[:-1], 0] == 1).sum())
    assert 0 < missed < 12 and demos.metadata["played"]["unsuccessful"] == missed
    key = jax.random.key(0)
    for amount in (Episodes(12), Steps(42)):
        _, batch = world.fresh(key).collect(Right(), amount, key)
        lengths = np.asarray(batch.totals.length)[np.asarray(batch.done)]  # 2 from x = 1, else 3 or 4
        found = float(episode_metrics(batch, world.task)["success"])
        assert found == pytest.approx(np.mean(lengths > 2)) and 0 < found < 1


class TellsAtTheEnd(WalkGym):
    """Success is in ``info`` at an episode's last step only, and means that it began at -1."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        self.first = min(getattr(self, "first", 9), observation[0])
        if terminated or truncated:
            info = {**info, "is_success": self.first == 0}
            del self.first
        return observation, reward, terminated, truncated, info


def test_success_that_is_told_at_the_end_only_is_heeded_once_it_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("surefoot.worlds.gym_adapter.PROBE_STEPS", 1)
    world = sf.make(TellsAtTheEnd, envs=3)
    assert not world.task.reports_success  # the first steps did not show it
    demos = sf.worlds.demonstrate(world, Right(), episodes=12)
    np.testing.assert_array_equal(demos.observations[demos.offsets[:-1], 0], -1)
    assert demos.metadata["played"]["unsuccessful"] == 12 - demos.episodes > 0
    _, batch = world.collect(Right(), Steps(42), jax.random.key(0))
    assert np.isnan(episode_metrics(batch, world.task)["success"])  # of the training nothing is known


def test_demonstrations_survive_the_disk(example: Any, lake: Any, tmp_path: Path) -> None:
    demos = sf.worlds.demonstrate(lake, example.KnowsTheLake(), episodes=3)
    sf.demonstrations.save(demos, tmp_path / "mine")
    again = sf.demonstrations.load(tmp_path / "mine")
    assert again.digest() == demos.digest()
    again.check(lake.task)


def test_the_check_finds_the_lake_sound(lake: Any) -> None:
    assert sf.worlds.check(lake).ok


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_example_ends_as_it_says(tmp_path: Path) -> None:
    """SCOPIL violates in at most a tenth of the episodes that SAC violates in, at comparable return."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1] / "src")},
        capture_output=True,
        text=True,
        timeout=800,
        check=True,
    )
    found = {}
    for name in ("discrete SAC", "SCOPIL"):
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"{name} "))
        found[name] = [float(x) for x in re.findall(r"(-?[\d.]+) \(", line)]
    (sac_return, _, sac_violations, _), (own_return, success, violations, _) = found.values()
    assert sac_violations > 0.9
    assert violations < 0.1 * sac_violations
    assert success > 0.95
    assert own_return > 0.9 * sac_return


class Says:
    """The same action everywhere."""

    def __init__(self, action: Any) -> None:
        self.action = jnp.asarray(action)

    def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return self.action


def test_actions_are_recorded_as_they_were_applied() -> None:
    world = sf.make("MarbleMazeTilt-v0", envs=2)
    low, high = world.task.action.low, world.task.action.high
    demos = sf.worlds.demonstrate(world, Says([50.0, -50.0]), episodes=2, keep_all=True)
    np.testing.assert_allclose(demos.actions, np.tile([high[0], low[1]], (len(demos.actions), 1)))
    demos.check(world.task)
    with pytest.raises(SurefootError, match="gave the action 9, but"):
        sf.worlds.demonstrate(sf.make("MarbleMaze-v0", envs=2), Says(9), episodes=1, keep_all=True)
