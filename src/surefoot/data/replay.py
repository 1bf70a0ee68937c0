"""Replay buffer: a ring of transitions as one pytree."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from surefoot.data.trajectories import Trajectories
from surefoot.errors import SurefootError, check_room
from surefoot.task import Discrete, Task


class Transition(eqx.Module):
    """What an off-policy update needs of a step, or of a batch of them."""

    observation: Float[Array, "*batch obs"]
    action: Shaped[Array, "..."]
    reward: Float[Array, "*batch"]
    cost: Float[Array, "*batch constraints"]
    next_observation: Float[Array, "*batch obs"]
    terminated: Float[Array, "*batch"]
    """1 where the episode ended by the problem's own rule; a truncated step bootstraps."""


class Replay(eqx.Module):
    """The newest ``capacity`` transitions; donated to each compiled call, never copied."""

    data: Transition
    position: Int[Array, ""]
    """Where the next transition goes."""
    size: Int[Array, ""]
    """How many are stored."""

    @classmethod
    def create(cls, task: Task, capacity: int) -> Replay:
        """An empty ring."""
        size, names = task.observation.size, task.constraints
        floats = 2 * size + getattr(task.action, "size", 1) + len(names) + 2
        what = f"replay_capacity = {capacity} with {size} observations a step"
        check_room(what, 4.0 * floats * capacity, "take less")
        if isinstance(task.action, Discrete):
            action = jnp.zeros(capacity, jnp.int32)
        else:
            action = jnp.zeros((capacity, task.action.size))
        data = Transition(
            observation=jnp.zeros((capacity, size)),
            action=action,
            reward=jnp.zeros(capacity),
            cost=jnp.zeros((capacity, len(names))),
            next_observation=jnp.zeros((capacity, size)),
            terminated=jnp.zeros(capacity),
        )
        return cls(data, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    @property
    def capacity(self) -> int:
        return self.data.reward.shape[0]

    def add(self, batch: Trajectories) -> Replay:
        """With all ``time * envs`` steps of ``batch`` written over the oldest ones."""
        new = Transition(
            batch.observation,
            batch.action,
            batch.reward,
            batch.cost,
            batch.next_observation,
            batch.terminated.astype(jnp.float32),
        )
        n = batch.reward.size
        rows = (self.position + jnp.arange(n)) % self.capacity

        def write(ring: Array, values: Array) -> Array:
            flat = values.reshape((n,) + ring.shape[1:])
            return ring.at[rows].set(flat, unique_indices=True)

        return Replay(
            jax.tree.map(write, self.data, new),
            (self.position + n) % self.capacity,
            jnp.minimum(self.size + n, self.capacity),
        )

    def add_some(self, batch: Transition, mask: Bool[Array, " n"]) -> Replay:
        """With those rows of ``batch`` written over the oldest ones that ``mask`` holds for."""
        if mask.shape[0] > self.capacity:
            raise SurefootError(
                f"{mask.shape[0]} transitions at once are more than the {self.capacity} kept."
            )
        place = (self.position + jnp.cumsum(mask) - 1) % self.capacity
        rows = jnp.where(mask, place, self.capacity)  # beyond the end: dropped
        count = jnp.sum(mask, dtype=jnp.int32)
        return Replay(
            jax.tree.map(lambda ring, values: ring.at[rows].set(values, mode="drop"), self.data, batch),
            (self.position + count) % self.capacity,
            jnp.minimum(self.size + count, self.capacity),
        )

    def sample(self, key: PRNGKeyArray, n: int, newest: Int[Array, ""] | int | None = None) -> Transition:
        """``n`` transitions, uniformly with replacement; of the ``newest`` ones alone, if that is given."""
        count = self.size if newest is None else jnp.minimum(self.size, newest)
        rows = jax.random.randint(key, (n,), 0, jnp.maximum(count, 1))
        if newest is not None:  # where they are all that there are, rows stay what they are without it
            rows = jnp.where(count < self.size, (self.position - count + rows) % self.capacity, rows)
        return jax.tree.map(lambda ring: ring[rows], self.data)
