"""The point mass: against a few lines of NumPy, and at states where the reward is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import surefoot as sf
from surefoot.envs.point_mass import PointMass, State
from surefoot.errors import SurefootError
from surefoot.worlds import from_description
from surefoot.worlds.world import Episodes


class Diagonal:
    """Walks towards the far corner by ``pace`` a step."""

    def __init__(self, pace: float) -> None:
        self.pace = pace

    def act(self, observation: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.full(2, self.pace)


def at(x: float, y: float) -> State:
    return State(jnp.array([x, y], jnp.float32), jnp.zeros((), jnp.int32))


@pytest.mark.parametrize("size", [4.0, 6.0, 2.5])
def test_the_walk_is_a_clipped_sum(size: float) -> None:
    env = PointMass(size=size)
    actions = np.random.default_rng(0).uniform(-1, 1.3, (200, 2)).astype(np.float32)
    _, seen = jax.lax.scan(
        lambda s, a: (lambda r: (r[0], r[0].position))(env.step(s, a)), env.reset(jax.random.key(0)), actions
    )
    place = np.zeros(2)
    for action, found in zip(actions, np.asarray(seen), strict=True):
        place = np.minimum(np.maximum(place + np.minimum(action, 1), 0), size)
        np.testing.assert_allclose(found, place, atol=1e-5)
    assert np.max(seen) == size  # a wall was met


def test_an_episode_has_thirty_states_from_the_corner() -> None:
    world = sf.make("PointMass-v0", envs=2)
    _, batch = world.collect(Diagonal(0.1), Episodes(3), jax.random.key(0))
    np.testing.assert_allclose(batch.observation[0], 0)
    assert batch.observation.shape == (29, 3, 2)
    np.testing.assert_allclose(batch.next_observation[-1], 2.9, atol=1e-5)
    assert np.asarray(batch.truncated).sum(0).tolist() == [1, 1, 1] and bool(batch.truncated[-1].all())
    assert not np.asarray(batch.terminated).any() and not np.asarray(batch.reward).any()
    assert batch.cost.shape == (29, 3, 0)
    assert sf.make("PointMass-v0", horizon=30).task.horizon == 30


@pytest.mark.parametrize(
    "place, reward, success",
    [
        ((6, 6), 1.0, True),
        ((5.96, 5.96), 1.0, True),
        ((5.94, 6), 0.0, False),
        ((6, 0), 0.1, False),
        ((5.96, 0.04), 0.1, False),
        ((0, 6), 0.1, False),
        ((0.06, 6), 0.0, False),
        ((0, 0), 0.0, False),
        ((3, 3), 0.0, False),
    ],
)
def test_the_corners_pay(place: tuple[float, float], reward: float, success: bool) -> None:
    _, goals = PointMass(size=6.0, reward="goals").step(at(*place), jnp.zeros(2))
    assert float(goals.reward) == pytest.approx(reward) and bool(goals.success) == success
    _, none = PointMass(size=6.0).step(at(*place), jnp.zeros(2))
    assert float(none.reward) == 0 and not bool(none.success)


def test_the_best_return_is_24() -> None:
    """Six steps to the corner, the sixth of which is paid: 29 - 5."""
    world = sf.make("PointMass-v0", size=6.0, reward="goals")
    _, batch = world.collect(Diagonal(1.0), Episodes(1), jax.random.key(0))
    assert float(batch.reward.sum()) == 24
    assert world.task.reports_success and not sf.make("PointMass-v0").task.reports_success


def test_a_description_leads_back() -> None:
    world = sf.make("PointMass-v0", size=6.0, reward="goals", horizon=30, envs=3)
    from surefoot.worlds import describe

    assert from_description(describe(world)).env == world.env  # type: ignore[union-attr]
    assert from_description(describe(world)).task == world.task


@pytest.mark.parametrize(
    "options, said",
    [
        ({"size": 0.0}, "size"),
        ({"size": float("nan")}, "size"),
        ({"reward": "goal"}, "goals"),
        ({"horizon": 0}, "horizon"),
        ({"sise": 4.0}, "Did you mean 'size'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SurefootError, match=said):
        sf.make("PointMass-v0", **options)
