"""A world of Gymnasium environments: stepped on the host, one after another.

Policies act by one compiled call for all environments; everything else is plain Python. Finished
environments are reset here, so that ``next_observation`` is always the true successor.

What is promised:

* Every reset is seeded from the key that was given, so the same key plays the same episodes
  (if the environment keeps Gymnasium's rule that a seed fixes all its chance).
* ``collect`` returns a new world and leaves the values of the old one alone, but the simulators
  behind both are the same objects and can stand in one place only: a world can be continued once.
  Continuing an older one raises an error, it never returns wrong data.
* A simulator cannot be saved in general. A resumed run therefore goes on from fresh episodes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray

from surefoot.data.trajectories import Totals, Trajectories
from surefoot.errors import SurefootError
from surefoot.task import Discrete, Task
from surefoot.worlds.gym_adapter import Adapter, CostFunction, Outcome, adapt
from surefoot.worlds.world import Acts, Episodes, Steps, act_with, memory_of

_START, _STEPS, _EPISODES = 0, 1, 2  # keep the seeds of the three kinds of reset apart
_FIRST_GUESS = 128
"""Steps for which room is made where an episode's length is not known beforehand."""
_ENDLESS = 100_000
"""An episode of this many steps, where no horizon is known, is taken for endless."""


@dataclass(frozen=True, eq=False)
class GymWorld:
    """``envs`` Gymnasium environments side by side, reset as soon as an episode ends."""

    adapter: Adapter
    """How an environment is made and read."""
    envs: int
    """Environments side by side."""
    description: dict[str, Any]
    """What :func:`surefoot.worlds.from_description` makes this world from again."""
    seed: tuple[int, ...]
    """Words that fix the first episodes."""
    simulators: _Simulators
    """Shared by all worlds that came from this one by ``collect``."""
    turn: int = 0
    """How often the simulators had moved when this world was returned."""
    standing: _Standing | None = field(default=None, repr=False)
    """Where the environments stand; ``None`` before their first reset."""
    memory: Any = field(default=None, repr=False)
    """What the policy remembers of each environment, if it does."""

    @classmethod
    def create(
        cls,
        factory: Callable[[], gymnasium.Env],
        envs: int,
        key: PRNGKeyArray,
        *,
        name: str | None = None,
        cost: CostFunction | None = None,
        constraints: tuple[str, ...] | None = None,
        limits: tuple[float, ...] | None = None,
        success: CostFunction | str | None = None,
        horizon: int | None = None,
        description: dict[str, Any] | None = None,
    ) -> GymWorld:
        """A world of ``envs`` environments, each made by a call of ``factory``.

        Args:
            factory: makes a new environment at every call.
            envs: how many are stepped side by side.
            key: fixes their first episodes.
            name: name of the task; the name of ``factory`` if left out.
            cost: ``cost(observation, action, next_observation, info)`` in the environment's own form,
                returning a number, a vector or a dictionary name -> number. Left out, the cost is the
                third of six values that ``step`` returns, or ``info["cost"]``; without either there
                are no constraints, and :attr:`measures_cost` is false.
            constraints: a name for each cost; left out, they come from the dictionary, from
                ``info["constraints"]``, or are called ``cost``. Of a dictionary only those named are kept.
            limits: largest expected cost of an episode that counts as safe, one a constraint; 0 if left out.
            success: a function like ``cost``, or the key of ``info``, that says whether the task is solved;
                left out, ``info["success"]`` or ``info["is_success"]``.
            horizon: steps after which an episode is truncated; left out, the environment's own limit.
            description: kept as :attr:`description`.

        Raises:
            SurefootError: a space that cannot be translated, or names that do not fit the costs.
        """
        if envs < 1:
            raise SurefootError(f"envs = {envs}: a world needs at least one environment.")
        adapter, env = adapt(
            factory,
            name or getattr(factory, "__qualname__", type(factory).__name__),
            cost=cost,
            constraints=constraints,
            limits=limits,
            success=success,
            horizon=horizon,
        )
        return cls(adapter, envs, description or {}, _words(key), _Simulators(adapter, [env]))

    @property
    def task(self) -> Task:
        return self.adapter.task

    @property
    def compiled(self) -> bool:
        return False

    @property
    def measures_cost(self) -> bool:
        """False if the environment reports no cost, so that violations cannot be measured."""
        return self.adapter.measures_cost

    def fresh(self, key: PRNGKeyArray) -> GymWorld:
        """A world with simulators of its own, at the start of episodes that ``key`` fixes."""
        seed, simulators = _words(key), _Simulators(self.adapter)
        return replace(self, seed=seed, simulators=simulators, turn=0, standing=None, memory=None)

    def close(self) -> None:
        """Closes the simulators; without a call it happens when they are no longer used."""
        self.simulators.close()

    def collect(
        self, policy: Acts, amount: Steps | Episodes, key: PRNGKeyArray
    ) -> tuple[GymWorld, Trajectories]:
        """Steps every environment with ``policy``; consumes ``key`` for actions and resets.

        ``Steps(n)`` continues where the environments stand, ``[n / envs, envs]``. ``Episodes(n)`` plays
        ``n`` fresh ones in simulators of their own, ``[horizon, n]``, and leaves this world as it is;
        without a horizon the longest episode counts, rounded up to a power of two. On padding the last
        observation is repeated, and action, reward and cost are zero.

        Raises:
            SurefootError: called inside ``jax.jit`` and the like; continued from an older world; or the
                environment returned what cannot be used, such as a NaN.
        """
        _refuse_tracers((policy, key), self.task.name)
        if isinstance(amount, Episodes):
            return self, self._episodes(policy, amount.n, key)
        if amount.n % self.envs:
            raise SurefootError(f"Steps({amount.n}) does not divide evenly over {self.envs} environments.")
        return self._steps(policy, amount.n // self.envs, key)

    def _steps(self, policy: Acts, time: int, key: PRNGKeyArray) -> tuple[GymWorld, Trajectories]:
        turn = self.simulators.take_turn(self)
        envs, words = self.simulators.stepping(self.envs), _words(key)
        now = self.standing.copy() if self.standing is not None else self._first_standing(envs)
        record, actor = _Record(self.task, time, self.envs), _Actor(policy, key, self.envs, self.memory)
        streams = np.arange(self.envs, dtype=np.int32)
        for t in range(time):
            actions = actor.act(now.observation, streams, np.full(self.envs, t, np.int32), now.length == 0)
            record.remember(actor.memory)
            for i, env in enumerate(envs):
                if self._play(env, now, i, actions[i], record, t, i):
                    now.restart(i, *self.adapter.reset(env, _seed(words, _STEPS, t, i)))
        return replace(self, turn=turn, standing=now, memory=actor.memory), record.trajectories(time)

    def _first_standing(self, envs: list[gymnasium.Env]) -> _Standing:
        now = _Standing.create(self.task, self.envs)
        for i, env in enumerate(envs):
            now.restart(i, *self.adapter.reset(env, _seed(self.seed, _START, i)))
        return now

    def _episodes(self, policy: Acts, n: int, key: PRNGKeyArray) -> Trajectories:
        if n < 1:
            raise SurefootError(f"Episodes({n}): ask for at least one.")
        horizon, words = self.task.horizon, _words(key)
        record = _Record(self.task, horizon or _FIRST_GUESS, n)
        # Each simulator plays one episode after another. Keys and seeds belong to the episode, so
        # the number of simulators does not change the chance that an episode sees.
        envs = self.simulators.playing(min(n, self.envs))
        actor = _Actor(policy, key, len(envs))
        now = _Standing.create(self.task, len(envs))
        waiting = iter(range(n))
        episode = np.array([next(waiting) for _ in envs], np.int32)
        for i, env in enumerate(envs):
            now.restart(i, *self.adapter.reset(env, _seed(words, _EPISODES, i)))
        playing = np.ones(len(envs), bool)
        while playing.any():
            actions = actor.act(now.observation, episode, now.length, now.length == 0)
            for i in np.flatnonzero(playing).tolist():
                t = int(now.length[i])
                if t >= _ENDLESS:
                    raise SurefootError(
                        f"An episode of '{self.task.name}' did not end in {_ENDLESS} steps; "
                        "give horizon=STEPS."
                    )
                if self._play(envs[i], now, i, actions[i], record, t, int(episode[i])):
                    following = next(waiting, None)
                    if following is None:
                        playing[i] = False
                    else:
                        episode[i] = following
                        now.restart(i, *self.adapter.reset(envs[i], _seed(words, _EPISODES, following)))
        return record.trajectories(horizon or _power_of_two(record.longest))

    def _play(
        self, env: gymnasium.Env, now: _Standing, i: int, action: Any, record: _Record, t: int, column: int
    ) -> bool:
        """One step of environment ``i``, written at ``[t, column]``; whether the episode ended."""
        outcome = self.adapter.step(env, now.raw[i], action, int(now.length[i]) + 1)
        record.write_step(t, column, now.observation[i], action, outcome)
        now.advance(i, outcome)
        record.write_totals(t, column, now, i)
        return outcome.terminated or outcome.truncated


_Form = tuple[Any, tuple[bool, ...], tuple[Any, ...]]
"""Of a policy: its structure, which of its leaves are arrays, and the others."""


class _Actor:
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


class _Simulators:
    """The environments behind a world, made when first needed.

    Those that ``Episodes`` plays are apart from those that ``Steps`` moves, which so stay where they are.
    """

    def __init__(self, adapter: Adapter, made: list[gymnasium.Env] | None = None) -> None:
        self._adapter = adapter
        self._stepping: list[gymnasium.Env] = made or []
        self._playing: list[gymnasium.Env] = []
        self._turn = 0
        self._close = weakref.finalize(self, _close_all, self._stepping, self._playing)

    def take_turn(self, world: GymWorld) -> int:
        """Marks ``world`` as continued; the turn of the world that follows."""
        if world.turn != self._turn:
            raise SurefootError(
                f"This world of '{world.task.name}' was continued before, and its simulators have moved on; "
                "use the world that collect returned, or world.fresh(key)."
            )
        self._turn += 1
        return self._turn

    def stepping(self, n: int) -> list[gymnasium.Env]:
        return self._filled(self._stepping, n)

    def playing(self, n: int) -> list[gymnasium.Env]:
        return self._filled(self._playing, n)[:n]

    def close(self) -> None:
        self._close()

    def _filled(self, envs: list[gymnasium.Env], n: int) -> list[gymnasium.Env]:
        if not self._close.alive:
            raise SurefootError("This world was closed; use world.fresh(key).")
        while len(envs) < n:
            env = self._adapter.factory()
            if any(env is other for other in self._stepping + self._playing):
                raise SurefootError(
                    f"The function that makes '{self._adapter.task.name}' returned the same environment "
                    "twice; it must make a new one at every call."
                )
            envs.append(env)
        return envs


def _close_all(*lists: list[gymnasium.Env]) -> None:
    for envs in lists:
        while envs:
            envs.pop().close()


@dataclass
class _Standing:
    """Where environments stand, and the totals of their current episodes. Each field ``[envs, ...]``."""

    raw: list[Any]
    observation: np.ndarray
    reward: np.ndarray
    length: np.ndarray
    cost: np.ndarray
    violating_steps: np.ndarray
    any_violating_steps: np.ndarray

    @classmethod
    def create(cls, task: Task, n: int) -> _Standing:
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

    def copy(self) -> _Standing:
        return _Standing(**{name: value.copy() for name, value in vars(self).items()})

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


class _Record:
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

    @property
    def longest(self) -> int:
        """Steps written in the fullest column."""
        return int(self.steps["valid"].sum(axis=0).max())

    def write_step(self, t: int, column: int, observation: np.ndarray, action: Any, outcome: Outcome) -> None:
        if t >= len(self.steps["valid"]):
            self._double()
        row = {"observation": observation, "action": action, "next_observation": outcome.observation}
        for name in ("reward", "cost", "terminated", "truncated", "success"):
            row[name] = getattr(outcome, name)
        for name, value in row.items():
            self.steps[name][t, column] = value
        self.steps["valid"][t, column] = True

    def write_totals(self, t: int, column: int, now: _Standing, i: int) -> None:
        for name, values in self.totals.items():
            values[t, column] = getattr(now, name)[i]

    def remember(self, memory: Any) -> None:
        """What the policy remembers after a step, if it does."""
        if memory is not None:
            self.memories.append(memory)

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
        )

    def _double(self) -> None:
        for arrays in (self.steps, self.totals):
            for name, values in arrays.items():
                arrays[name] = np.concatenate([values, np.zeros_like(values)])


def _power_of_two(n: int) -> int:
    """The smallest power of two that is not below ``n``."""
    return 1 << (n - 1).bit_length()


def _words(key: PRNGKeyArray) -> tuple[int, ...]:
    """The bits of a key, as seeds for the host."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    data = jax.random.key_data(key) if typed else key
    return tuple(int(word) for word in np.asarray(data).reshape(-1))


def _seed(words: tuple[int, ...], *place: int) -> int:
    """A seed for one reset, from a key and the place where the reset happens."""
    return int(np.random.SeedSequence([*words, *place]).generate_state(1)[0] >> 1)


def _refuse_tracers(values: Any, name: str) -> None:
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values)):
        raise SurefootError(
            f"'{name}' is stepped on the host, so its collect cannot run inside jax.jit, vmap or scan; "
            "call it from plain Python (world.compiled says which worlds may be traced)."
        )
