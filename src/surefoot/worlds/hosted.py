"""What worlds that are stepped on the host share: acting, where environments stand, what is recorded.

:mod:`surefoot.worlds.gym_world` steps environments one by one, :mod:`surefoot.worlds.vector_world` together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray

from surefoot.data.trajectories import Totals, Trajectories
from surefoot.errors import SurefootError
from surefoot.task import Discrete, Task
from surefoot.worlds.gym_adapter import Outcome
from surefoot.worlds.world import Acts, act_with, memory_of, report_of

START, STEPS, EPISODES = 0, 1, 2  # keep the seeds of the three kinds of reset apart
FIRST_GUESS = 128
"""Steps for which room is made where an episode's length is not known beforehand."""
ENDLESS = 100_000
"""An episode of this many steps, where no horizon is known, is taken for endless."""


_Form = tuple[Any, tuple[bool, ...], tuple[Any, ...]]
"""Of a policy: its structure, which of its leaves are arrays, and the others."""


class Actor:
    """A policy made ready to act for many observations at once.

    Its arrays are arguments of the compiled function, all else is a constant of it: policies of one
    structure share one program. (``eqx.filter_jit`` does the same, but sorts anew at every call, which
    takes several times as long as the call itself.)
    """

    def __init__(self, policy: Acts, key: PRNGKeyArray, envs: int, memory: Any = None) -> None:
        leaves, structure = jax.tree.flatten(policy)
        numbers = tuple(isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves)
        self._arrays = [leaf for leaf, number in zip(leaves, numbers, strict=True) if number]
        rest = tuple(leaf for leaf, number in zip(leaves, numbers, strict=True) if not number)
        self._form = (structure, numbers, rest)
        self._key = key
        # That it fits is told by the forms alone: to make a fresh one at every step takes a planner as long
        # as a small plan.
        self.memory = memory if self._fits(memory, envs) else memory_of(policy, envs, memory)

    def _fits(self, memory: Any, envs: int) -> bool:
        """Whether the policy can go on with this memory ``[envs, ...]``."""
        if memory is None:
            return False
        leaves, structure = jax.tree.flatten(memory)
        wanted = _memory_form(self._form, tuple(jax.typeof(array) for array in self._arrays))
        return wanted == (structure, [(x.shape[1:], x.dtype) for x in leaves]) and all(
            len(x) == envs for x in leaves
        )

    def act(
        self, observation: np.ndarray, stream: np.ndarray, time: np.ndarray, started: np.ndarray
    ) -> np.ndarray:
        """Actions ``[envs, ...]`` for observations ``[envs, obs]``.

        ``stream`` and ``time`` ``[envs]`` make the key of each: an environment or episode, and a step.
        Where an episode has just ``started`` nothing is remembered.
        """
        given = self._form, self._arrays, self._key, observation, stream, time
        if self.memory is None:
            return np.asarray(_act(*given))
        actions, self.memory = _act_with(*given, self.memory, started)
        return np.asarray(actions)


def _policy(form: _Form, arrays: list[Array]) -> Any:
    structure, numbers, rest = form
    given, constants = iter(arrays), iter(rest)
    return jax.tree.unflatten(structure, [next(given if number else constants) for number in numbers])


@lru_cache(maxsize=64)
def _memory_form(form: _Form, arrays: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    """Structure, shapes and types of what a policy remembers of one environment.

    ``arrays`` are the abstract values of the policy's arrays.
    """

    def memory(*given: Array) -> Any:
        remembered = getattr(_policy(form, list(given)), "memory", None)
        return None if remembered is None else remembered()

    leaves, structure = jax.tree.flatten(jax.eval_shape(memory, *arrays))
    return structure, [(x.shape, x.dtype) for x in leaves]


@partial(jax.jit, static_argnums=0)
def _act(
    form: _Form,
    arrays: list[Array],
    key: PRNGKeyArray,
    observation: Array,
    stream: Array,
    time: Array,
) -> Array:
    policy = _policy(form, arrays)

    def one(observation: Array, stream: Array, time: Array) -> Array:
        return policy.act(observation, jax.random.fold_in(jax.random.fold_in(key, stream), time))

    return jax.vmap(one)(observation, stream, time)


@partial(jax.jit, static_argnums=0)
def _act_with(
    form: _Form,
    arrays: list[Array],
    key: PRNGKeyArray,
    observation: Array,
    stream: Array,
    time: Array,
    memory: Any,
    started: Array,
) -> tuple[Array, Any]:
    def key_of(stream: Array, time: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, stream), time)

    keys = jax.vmap(key_of)(stream, time)
    return act_with(_policy(form, arrays), memory, observation, keys, started)


class Continued(Protocol):
    """A world that can be continued once."""

    @property
    def turn(self) -> int:
        """How often its simulators had moved when it was returned."""
        ...


class Turns:
    """Which of the worlds with the same simulators is the newest: only that one can be continued."""

    def __init__(self, name: str) -> None:
        self._name, self._turn = name, 0

    def check(self, world: Continued) -> None:
        """Raises :class:`SurefootError` if ``world`` was continued before."""
        if world.turn != self._turn:
            raise SurefootError(
                f"This world of '{self._name}' was continued before, and its simulators have moved on; "
                "use the world that collect returned, or world.fresh(key)."
            )

    def take(self, world: Continued) -> int:
        """Marks ``world`` as continued; the turn of the world that follows."""
        self.check(world)
        self._turn += 1
        return self._turn


@dataclass
class Standing:
    """Where environments stand, and the totals of their current episodes. Each field ``[envs, ...]``."""

    raw: list[Any]
    observation: np.ndarray
    reward: np.ndarray
    length: np.ndarray
    cost: np.ndarray
    violating_steps: np.ndarray
    any_violating_steps: np.ndarray

    @classmethod
    def create(cls, task: Task, n: int) -> Standing:
        constraints = len(task.constraints)
        return cls(
            raw=[None] * n,
            observation=np.zeros((n, task.observation.size), np.float32),
            reward=np.zeros(n, np.float32),
            length=np.zeros(n, np.int32),
            cost=np.zeros((n, constraints), np.float32),
            violating_steps=np.zeros((n, constraints), np.int32),
            any_violating_steps=np.zeros(n, np.int32),
        )

    def copy(self) -> Standing:
        return Standing(**{name: value.copy() for name, value in vars(self).items()})

    def restart(self, i: int, raw: Any, observation: np.ndarray) -> None:
        """Environment ``i`` was reset."""
        for name, value in vars(self).items():
            if name != "raw":
                value[i] = 0
        self.raw[i], self.observation[i] = raw, observation

    def advance(self, i: int, outcome: Outcome) -> None:
        """Environment ``i`` took a step."""
        self.raw[i], self.observation[i] = outcome.raw, outcome.observation
        self.reward[i] += outcome.reward
        self.length[i] += 1
        self.cost[i] += outcome.cost
        self.violating_steps[i] += outcome.cost > 0
        self.any_violating_steps[i] += (outcome.cost > 0).any()


class Record:
    """Arrays ``[time, columns, ...]`` that steps are written into; a column is one environment or episode."""

    def __init__(self, task: Task, time: int, columns: int) -> None:
        obs, constraints = (task.observation.size,), (len(task.constraints),)
        action = () if isinstance(task.action, Discrete) else (task.action.size,)

        def zeros(shape: tuple[int, ...], dtype: type) -> np.ndarray:
            return np.zeros((time, columns, *shape), dtype)

        self.steps = {
            "observation": zeros(obs, np.float32),
            "action": zeros(action, np.float32 if action else np.int32),
            "reward": zeros((), np.float32),
            "cost": zeros(constraints, np.float32),
            "next_observation": zeros(obs, np.float32),
            "terminated": zeros((), np.bool_),
            "truncated": zeros((), np.bool_),
            "success": zeros((), np.bool_),
            "valid": zeros((), np.bool_),
        }
        self.totals = {
            "reward": zeros((), np.float32),
            "length": zeros((), np.int32),
            "cost": zeros(constraints, np.float32),
            "violating_steps": zeros(constraints, np.int32),
            "any_violating_steps": zeros((), np.int32),
        }
        self.memories: list[Any] = []
        self.reports: dict[str, np.ndarray] = {}

    @property
    def longest(self) -> int:
        """Steps written in the fullest column."""
        return int(self.steps["valid"].sum(axis=0).max())

    def write_step(self, t: int, column: int, observation: np.ndarray, action: Any, outcome: Outcome) -> None:
        if t >= len(self.steps["valid"]):
            self.double()
        row = {"observation": observation, "action": action, "next_observation": outcome.observation}
        for name in ("reward", "cost", "terminated", "truncated", "success"):
            row[name] = getattr(outcome, name)
        for name, value in row.items():
            self.steps[name][t, column] = value
        self.steps["valid"][t, column] = True

    def write_totals(self, t: int, column: int, now: Standing, i: int) -> None:
        for name, values in self.totals.items():
            values[t, column] = getattr(now, name)[i]

    def remember(self, memory: Any) -> None:
        """What the policy remembers after a step, if it does."""
        if memory is not None:
            self.memories.append(memory)

    def write_report(self, times: np.ndarray, columns: np.ndarray, memory: Any, rows: np.ndarray) -> None:
        """What the memory of ``rows`` reports of a step, at ``[times, columns]``; NaN where nothing was."""
        for name, values in (report_of(memory) or {}).items():
            while times.max() >= len(self.steps["valid"]):
                self.double()
            if name not in self.reports:
                self.reports[name] = np.full(self.steps["valid"].shape, np.nan, np.float32)
            self.reports[name][times, columns] = np.asarray(values)[rows]

    def trajectories(self, time: int) -> Trajectories:
        """The first ``time`` steps; columns that ended before are padded."""
        steps = {name: values[:time] for name, values in self.steps.items()}
        totals = {name: values[:time] for name, values in self.totals.items()}
        lengths = steps["valid"].sum(axis=0)
        for column in np.flatnonzero(lengths < time):
            end = lengths[column]
            last = steps["next_observation"][end - 1, column]
            steps["observation"][end:, column] = steps["next_observation"][end:, column] = last
            for values in totals.values():
                values[end:, column] = values[end - 1, column]
        on_device = {name: jnp.asarray(values) for name, values in steps.items()}
        memory = jax.tree.map(lambda *each: jnp.stack(each), *self.memories) if self.memories else None
        return Trajectories(
            **on_device,
            totals=Totals(**{name: jnp.asarray(values) for name, values in totals.items()}),
            memory=memory,
            report={name: jnp.asarray(values[:time]) for name, values in self.reports.items()} or None,
        )

    def double(self) -> None:
        for arrays in (self.steps, self.totals):
            for name, values in arrays.items():
                arrays[name] = np.concatenate([values, np.zeros_like(values)])
        for name, values in self.reports.items():
            self.reports[name] = np.concatenate([values, np.full_like(values, np.nan)])


def power_of_two(n: int) -> int:
    """The smallest power of two that is not below ``n``."""
    return 1 << (n - 1).bit_length()


def words_of(key: PRNGKeyArray) -> tuple[int, ...]:
    """The bits of a key, as seeds for the host."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    data = jax.random.key_data(key) if typed else key
    return tuple(int(word) for word in np.asarray(data).reshape(-1))


def seed_of(words: tuple[int, ...], *place: int) -> int:
    """A seed for one reset, from a key and the place where the reset happens."""
    return int(np.random.SeedSequence([*words, *place]).generate_state(1)[0] >> 1)


def refuse_tracers(values: Any, name: str) -> None:
    """Raises :class:`SurefootError` inside ``jax.jit`` and the like."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values)):
        raise SurefootError(
            f"'{name}' is stepped on the host, so its collect cannot run inside jax.jit, vmap or scan; "
            "call it from plain Python (world.compiled says which worlds may be traced)."
        )
