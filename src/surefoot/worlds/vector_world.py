"""A world of Gymnasium environments that are stepped together, as one ``gymnasium.vector.VectorEnv``.

It promises what :class:`surefoot.worlds.gym_world.GymWorld` does and gives the same numbers, if each
environment of the vector plays as a single one with its seed does; but no Python runs per environment.

The vector must leave resets to us: Gymnasium's ``AutoresetMode.DISABLED``, with ``reset(seed=[...],
options={"reset_mask": mask})``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import PRNGKeyArray

from surefoot.data.trajectories import Trajectories
from surefoot.errors import SurefootError
from surefoot.task import Task
from surefoot.worlds.gym_adapter import SUCCESS_KEYS, Adapter, adapt
from surefoot.worlds.hosted import (
    ENDLESS,
    EPISODES,
    FIRST_GUESS,
    START,
    STEPS,
    Actor,
    Record,
    Standing,
    Turns,
    power_of_two,
    refuse_tracers,
    seed_of,
    words_of,
)
from surefoot.worlds.world import Acts, Episodes, Steps

MakeVector = Callable[[int], gymnasium.vector.VectorEnv]
"""Makes a vector of that many environments."""


@dataclass(frozen=True, eq=False)
class VectorWorld:
    """``envs`` Gymnasium environments in one vector, reset as soon as an episode ends."""

    adapter: Adapter
    """How a single one of them is made and read."""
    vector: MakeVector
    envs: int
    """Environments side by side."""
    description: dict[str, Any]
    """What :func:`surefoot.worlds.from_description` makes this world from again."""
    seed: tuple[int, ...]
    """Words that fix the first episodes."""
    simulators: _Vectors
    """Shared by all worlds that came from this one by ``collect``."""
    turn: int = 0
    """How often the simulators had moved when this world was returned."""
    standing: Standing | None = field(default=None, repr=False)
    """Where the environments stand; ``None`` before their first reset."""
    memory: Any = field(default=None, repr=False)
    """What the policy remembers of each environment, if it does."""

    waiting: dict[str, np.ndarray] | None = field(default=None, repr=False)
    """What :meth:`save` returned and the simulators are still to be put to, see :meth:`restored`."""

    @classmethod
    def create(
        cls,
        factory: Callable[[], gymnasium.Env],
        vector: MakeVector,
        envs: int,
        key: PRNGKeyArray,
        *,
        name: str | None = None,
        constraints: tuple[str, ...] | None = None,
        limits: tuple[float, ...] | None = None,
        success: str | None = None,
        horizon: int | None = None,
        description: dict[str, Any] | None = None,
    ) -> VectorWorld:
        """A world of ``envs`` environments.

        Args:
            factory: makes a single environment, from which spaces, costs and horizon are learned.
            vector: makes a vector of them. ``infos["cost"]`` holds a number or a row for each of them, with
                names in ``infos["constraints"]``.
            envs: how many are stepped side by side.
            key: fixes their first episodes.
            name: see :meth:`surefoot.worlds.gym_world.GymWorld.create`, as for the rest.
        """
        if envs < 1:
            raise SurefootError(f"envs = {envs}: a world needs at least one environment.")
        adapter, single = adapt(
            factory,
            name or getattr(factory, "__qualname__", type(factory).__name__),
            constraints=constraints,
            limits=limits,
            success=success,
            horizon=horizon,
        )
        single.close()
        return cls(
            adapter, vector, envs, description or {}, words_of(key), _Vectors(vector, adapter.task.name)
        )

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

    def fresh(self, key: PRNGKeyArray) -> VectorWorld:
        """A world with simulators of its own, at the start of episodes that ``key`` fixes."""
        simulators = _Vectors(self.vector, self.task.name)
        begin: dict[str, Any] = {"turn": 0, "standing": None, "memory": None, "waiting": None}
        return replace(self, seed=words_of(key), simulators=simulators, **begin)

    @property
    def can_save(self) -> bool:
        """Whether :meth:`save` can be called: the vector can ``save()`` and ``restore(arrays)`` itself."""
        env = self.simulators.playing(1)
        return hasattr(env, "save") and hasattr(env, "restore")

    def save(self) -> dict[str, np.ndarray]:
        """Where the environments stand, as arrays by name; what a policy remembers is not among them."""
        if self.waiting is not None:
            return self.waiting
        self.simulators.turns.check(self)
        env: Any = self.simulators.stepping(self.envs)
        # A world that has not begun is saved after its first reset, which it would do in the same way later.
        standing = vars(self.standing or self._begun(env))
        rows = {f"standing/{name}": value.copy() for name, value in standing.items() if name != "raw"}
        return {**rows, **{f"vector/{name}": value for name, value in env.save().items()}}

    def restored(self, saved: dict[str, np.ndarray]) -> VectorWorld:
        """A world with simulators of its own that goes on to the bit where ``saved`` was made."""
        simulators = _Vectors(self.vector, self.task.name)
        return replace(self, simulators=simulators, turn=0, standing=None, memory=None, waiting=saved)

    def close(self) -> None:
        """Closes the simulators; without a call it happens when they are no longer used."""
        self.simulators.close()

    def collect(
        self, policy: Acts, amount: Steps | Episodes, key: PRNGKeyArray
    ) -> tuple[VectorWorld, Trajectories]:
        """As :meth:`surefoot.worlds.gym_world.GymWorld.collect`."""
        refuse_tracers((policy, key), self.task.name)
        if isinstance(amount, Episodes):
            return self, self._episodes(policy, amount.n, key)
        return self._steps(policy, amount.each(self.envs), key)

    def _steps(self, policy: Acts, time: int, key: PRNGKeyArray) -> tuple[VectorWorld, Trajectories]:
        turn = self.simulators.turns.take(self)
        env, words = self.simulators.stepping(self.envs), words_of(key)
        every = np.arange(self.envs, dtype=np.int32)
        now = self._begun(env) if self.standing is None else self.standing.copy()
        record, actor = Record(self.task, time, self.envs), Actor(policy, key, self.envs, self.memory)
        for t in range(time):
            actions = actor.act(now.observation, every, np.full(self.envs, t, np.int32), now.length == 0)
            record.remember(actor.memory)
            times = np.full(self.envs, t)
            ended = np.flatnonzero(self._play(env, now, actions, record, times, every, every))
            self._restart(env, now, ended, [seed_of(words, STEPS, t, i) for i in ended.tolist()])
        world = replace(self, turn=turn, standing=now, memory=actor.memory, waiting=None)
        return world, record.trajectories(time)

    def _begun(self, env: Any) -> Standing:
        """Where the environments stand before the first step: where they were saved, or freshly reset."""
        now = Standing.create(self.task, self.envs)
        if self.waiting is None:
            every = np.arange(self.envs)
            self._restart(env, now, every, [seed_of(self.seed, START, i) for i in range(self.envs)])
            return now
        parts = [(*name.split("/", 1), value) for name, value in self.waiting.items()]
        env.restore({name: value for part, name, value in parts if part == "vector"})
        for part, name, value in parts:
            if part == "standing":
                getattr(now, name)[:] = value
        return now

    def _episodes(self, policy: Acts, n: int, key: PRNGKeyArray) -> Trajectories:
        if n < 1:
            raise SurefootError(f"Episodes({n}): ask for at least one.")
        horizon, words = self.task.horizon, words_of(key)
        count = min(n, self.envs)
        record, actor = Record(self.task, horizon or FIRST_GUESS, n), Actor(policy, key, count)
        env = self.simulators.playing(count)
        now = Standing.create(self.task, count)
        episode, following = np.arange(count, dtype=np.int32), count
        self._restart(env, now, episode, [seed_of(words, EPISODES, i) for i in range(count)])
        playing = np.ones(count, bool)
        while playing.any():
            actions = actor.act(now.observation, episode, now.length, now.length == 0)
            rows = np.flatnonzero(playing)
            if now.length[rows].max() >= ENDLESS:
                raise SurefootError(
                    f"An episode of '{self.task.name}' did not end in {ENDLESS} steps; give horizon=STEPS."
                )
            times, columns = now.length[rows].astype(int), episode[rows]
            record.write_report(times, columns, actor.memory, rows)
            ended = rows[self._play(env, now, actions, record, times, columns, rows)]
            again = ended[: n - following]
            playing[ended[len(again) :]] = False
            episode[again] = np.arange(following, following + len(again))
            following += len(again)
            self._restart(env, now, again, [seed_of(words, EPISODES, i) for i in episode[again].tolist()])
        return record.trajectories(horizon or power_of_two(record.longest))

    def _restart(
        self, env: gymnasium.vector.VectorEnv, now: Standing, rows: np.ndarray, seeds: list[int]
    ) -> None:
        """Resets the environments ``rows``."""
        if not len(rows):
            return
        mask = np.zeros(env.num_envs, bool)
        mask[rows] = True
        given: Any = [None] * env.num_envs  # Gymnasium's types know whole lists only
        for row, seed in zip(rows.tolist(), seeds, strict=True):
            given[row] = seed
        observation, _ = env.reset(seed=given, options={"reset_mask": mask})
        for name, value in vars(now).items():
            if name != "raw":
                value[rows] = 0
        now.observation[rows] = self._encode(observation)[rows]

    def _play(
        self,
        env: gymnasium.vector.VectorEnv,
        now: Standing,
        actions: np.ndarray,
        record: Record,
        times: np.ndarray,
        columns: np.ndarray,
        rows: np.ndarray,
    ) -> np.ndarray:
        """One step of all; that of ``rows`` is written at ``[times, columns]``. Which of them ended."""
        raw, reward, terminated, truncated, info = env.step(self._decode(actions))
        now.length += 1
        ends = {
            "observation": now.observation.copy(),
            "action": actions,
            "reward": np.asarray(reward, np.float32),
            "cost": self._costs(info, env.num_envs),
            "next_observation": self._encode(raw),
            "terminated": np.asarray(terminated, bool),
            "truncated": ~terminated & (truncated | (now.length == self.task.horizon)),
            "success": self._success(info, env.num_envs),
            "valid": np.ones(env.num_envs, bool),
        }
        for name in ("next_observation", "reward", "cost"):
            if not np.isfinite(ends[name][rows]).all():
                what = name.removeprefix("next_")
                raise SurefootError(f"'{self.task.name}': a {what} is not finite: {ends[name][rows]}")
        now.observation[:] = ends["next_observation"]
        now.reward += ends["reward"]
        now.cost += ends["cost"]
        now.violating_steps += ends["cost"] > 0
        now.any_violating_steps += (ends["cost"] > 0).any(axis=1)
        while times.max() >= len(record.steps["valid"]):
            record.double()
        for name, value in ends.items():
            record.steps[name][times, columns] = value[rows]
        for name, values in record.totals.items():
            values[times, columns] = getattr(now, name)[rows]
        return (ends["terminated"] | ends["truncated"])[rows]

    def _encode(self, raw: Any) -> np.ndarray:
        return np.asarray(raw, np.float32).reshape(len(raw), self.task.observation.size)

    def _decode(self, actions: np.ndarray) -> np.ndarray:
        """The vector's form of the learner's actions; real ones are clipped to the bounds."""
        space = self.adapter.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return actions + int(space.start)
        assert isinstance(space, gymnasium.spaces.Box)
        if not np.isfinite(actions).all():
            raise SurefootError(f"'{self.task.name}': the policy's actions {actions} are not finite.")
        given = actions.reshape(len(actions), *space.shape)
        return np.clip(given, space.low, space.high).astype(space.dtype)

    def _costs(self, info: dict[str, Any], envs: int) -> np.ndarray:
        """``[envs, constraints]``."""
        names = self.task.constraints
        if not names:
            return np.zeros((envs, 0), np.float32)
        if "cost" not in info:
            raise SurefootError(f"'{self.task.name}' reported no cost at a step, but {names} were promised.")
        costs = np.asarray(info["cost"], np.float32).reshape(envs, -1)
        reported = tuple(info.get("constraints", names))
        if costs.shape[1] != len(reported) or not set(names) <= set(reported):
            raise SurefootError(f"'{self.task.name}' reported costs {reported}, but {names} were promised.")
        return costs[:, [reported.index(name) for name in names]]

    def _success(self, info: dict[str, Any], envs: int) -> np.ndarray:
        """``[envs]``."""
        keys = (self.adapter.success,) if isinstance(self.adapter.success, str) else SUCCESS_KEYS
        found = [np.asarray(info[key], bool) for key in keys if key in info]
        return np.logical_or.reduce([np.zeros(envs, bool), *found])


class _Vectors:
    """The vectors behind a world, made when needed: one that ``Steps`` moves, others for ``Episodes``."""

    def __init__(self, make: MakeVector, name: str) -> None:
        self._make, self._name = make, name
        self._made: dict[tuple[str, int], gymnasium.vector.VectorEnv] = {}
        self.turns = Turns(name)
        self._close = weakref.finalize(self, _close_all, self._made)

    def stepping(self, n: int) -> gymnasium.vector.VectorEnv:
        return self._vector("stepping", n)

    def playing(self, n: int) -> gymnasium.vector.VectorEnv:
        return self._vector("playing", n)

    def close(self) -> None:
        self._close()

    def _vector(self, purpose: str, n: int) -> gymnasium.vector.VectorEnv:
        if not self._close.alive:
            raise SurefootError("This world was closed; use world.fresh(key).")
        if (purpose, n) not in self._made:
            made = self._make(n)
            mode = made.metadata.get("autoreset_mode")
            if mode != gymnasium.vector.AutoresetMode.DISABLED:
                raise SurefootError(
                    f"'{self._name}': the vector resets by itself ({mode}); make it with "
                    "AutoresetMode.DISABLED."
                )
            self._made[purpose, n] = made
        return self._made[purpose, n]


def _close_all(made: dict[Any, gymnasium.vector.VectorEnv]) -> None:
    while made:
        made.popitem()[1].close()
