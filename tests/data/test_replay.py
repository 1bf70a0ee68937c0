"""The replay ring against a deque of Python's."""

from __future__ import annotations

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from surefoot.data.replay import Replay, Transition
from surefoot.data.trajectories import Totals, Trajectories
from surefoot.errors import SurefootError
from surefoot.task import Box, Discrete, Task

BOX = Box((2,), (-1.0,) * 2, (1.0,) * 2)
DISCRETE = Task("Small-v0", BOX, Discrete(5), ("zone",), (0.0,))
CONTINUOUS = Task("Small-v0", BOX, Box((3,), (-1.0,) * 3, (1.0,) * 3), ("zone", "speed"), (0.0, 0.0))

add = jax.jit(Replay.add)


def test_a_buffer_larger_than_the_machine_is_refused() -> None:
    with pytest.raises(SurefootError, match=r"replay_capacity = 1000000000000 .*GiB; take less"):
        Replay.create(DISCRETE, 10**12)


def played(task: Task, time: int, envs: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Steps [time, envs, ...] with random numbers in every field."""
    shape = (time, envs)
    if isinstance(task.action, Discrete):
        action = rng.integers(task.action.n, size=shape).astype(np.int32)
    else:
        action = rng.normal(size=(*shape, task.action.size)).astype(np.float32)
    return {
        "observation": rng.normal(size=(*shape, task.observation.size)).astype(np.float32),
        "action": action,
        "reward": rng.normal(size=shape).astype(np.float32),
        "cost": rng.random((*shape, len(task.constraints))).astype(np.float32),
        "next_observation": rng.normal(size=(*shape, task.observation.size)).astype(np.float32),
        "terminated": rng.random(shape) < 0.3,
    }


def trajectories(steps: dict[str, np.ndarray]) -> Trajectories:
    shape = steps["reward"].shape
    constraints = steps["cost"].shape[-1]
    whole, no = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool)
    totals = Totals(
        jnp.zeros(shape), whole, jnp.zeros((*shape, constraints)),
        jnp.zeros((*shape, constraints), jnp.int32), whole,
    )  # fmt: skip
    arrays = {name: jnp.asarray(values) for name, values in steps.items()}
    return Trajectories(**arrays, truncated=~arrays["terminated"], success=no, valid=~no, totals=totals)


@pytest.mark.parametrize("task", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_holds_what_a_deque_holds(task: Task) -> None:
    rng = np.random.default_rng(0)
    replay, expected = Replay.create(task, 10), deque(maxlen=10)
    assert replay.capacity == 10 and int(replay.size) == 0
    shapes = [(1, 1), (3, 1), (2, 2), (5, 2)]  # the last fills the ring at once
    for turn in range(24):
        time, envs = shapes[rng.integers(len(shapes))] if turn else (2, 2)
        steps = played(task, time, envs, rng)
        replay = add(replay, trajectories(steps))
        for t in range(time):
            for env in range(envs):
                expected.append({name: values[t, env] for name, values in steps.items()})
        assert int(replay.size) == len(expected)
        oldest = (int(replay.position) - len(expected)) % 10
        for i, step in enumerate(expected):  # oldest first
            for name, value in step.items():
                stored = np.asarray(getattr(replay.data, name))[(oldest + i) % 10]
                np.testing.assert_array_equal(stored, value)


@pytest.mark.parametrize("stored", [4, 10, 14])
def test_draws_what_is_stored_uniformly_and_row_by_row(stored: int) -> None:
    """Each reward is a step's number, and the observations repeat it."""
    replay = Replay.create(DISCRETE, 10)
    for i in range(0, stored, 2):
        number = np.array([[i, i + 1]], np.float32)
        steps = played(DISCRETE, 1, 2, np.random.default_rng(i))
        steps |= {"reward": number, "observation": np.stack([number, -number], -1)}
        replay = add(replay, trajectories(steps))
    batch = replay.sample(jax.random.key(1), 4000)
    assert batch.observation.shape == (4000, 2) and batch.cost.shape == (4000, 1)
    numbers = np.asarray(batch.reward)
    np.testing.assert_array_equal(batch.observation, np.stack([numbers, -numbers], -1))
    kept = np.arange(stored)[-10:]
    counts = [(numbers == i).sum() for i in kept]
    assert sum(counts) == 4000  # nothing else: no empty row, nothing that was overwritten
    assert stats.chisquare(counts).pvalue > 1e-3


def test_only_termination_is_stored_as_an_end() -> None:
    steps = played(DISCRETE, 2, 2, np.random.default_rng(0)) | {"terminated": np.array([[True, False]] * 2)}
    replay = add(Replay.create(DISCRETE, 10), trajectories(steps))
    np.testing.assert_array_equal(replay.data.terminated[:4], [1.0, 0.0, 1.0, 0.0])


def test_is_written_in_place_when_donated() -> None:
    capacity = 50_000
    empty = jax.eval_shape(lambda: Replay.create(DISCRETE, capacity))
    batch = trajectories(played(DISCRETE, 2, 2, np.random.default_rng(0)))
    memory = jax.jit(Replay.add, donate_argnums=0).lower(empty, batch).compile().memory_analysis()
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(empty))
    assert size > capacity * 4 * (2 + 1 + 1 + 1 + 2 + 1)
    assert memory.alias_size_in_bytes >= size - 64  # what comes out lies where it went in
    assert memory.temp_size_in_bytes < size / 100


def test_drawing_copies_no_more_than_the_batch() -> None:
    empty = jax.eval_shape(lambda: Replay.create(DISCRETE, 50_000))

    def draw(replay: Replay) -> Transition:
        return replay.sample(jax.random.key(0), 16)

    memory = jax.jit(draw).lower(empty).compile().memory_analysis()
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < 50_000
