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
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import PRNGKeyArray

from surefoot.data.trajectories import Trajectories
from surefoot.errors import SurefootError
from surefoot.task import Task
from surefoot.worlds.gym_adapter import Adapter, CostFunction, adapt
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
    standing: Standing | None = field(default=None, repr=False)
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
        return cls(adapter, envs, description or {}, words_of(key), _Simulators(adapter, [env]))

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
        seed, simulators = words_of(key), _Simulators(self.adapter)
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
        refuse_tracers((policy, key), self.task.name)
        if isinstance(amount, Episodes):
            return self, self._episodes(policy, amount.n, key)
        return self._steps(policy, amount.each(self.envs), key)

    def _steps(self, policy: Acts, time: int, key: PRNGKeyArray) -> tuple[GymWorld, Trajectories]:
        turn = self.simulators.turns.take(self)
        envs, words = self.simulators.stepping(self.envs), words_of(key)
        now = self.standing.copy() if self.standing is not None else self._first_standing(envs)
        record, actor = Record(self.task, time, self.envs), Actor(policy, key, self.envs, self.memory)
        streams = np.arange(self.envs, dtype=np.int32)
        for t in range(time):
            actions = actor.act(now.observation, streams, np.full(self.envs, t, np.int32), now.length == 0)
            record.remember(actor.memory)
            for i, env in enumerate(envs):
                if self._play(env, now, i, actions[i], record, t, i):
                    now.restart(i, *self.adapter.reset(env, seed_of(words, STEPS, t, i)))
        return replace(self, turn=turn, standing=now, memory=actor.memory), record.trajectories(time)

    def _first_standing(self, envs: list[gymnasium.Env]) -> Standing:
        now = Standing.create(self.task, self.envs)
        for i, env in enumerate(envs):
            now.restart(i, *self.adapter.reset(env, seed_of(self.seed, START, i)))
        return now

    def _episodes(self, policy: Acts, n: int, key: PRNGKeyArray) -> Trajectories:
        if n < 1:
            raise SurefootError(f"Episodes({n}): ask for at least one.")
        horizon, words = self.task.horizon, words_of(key)
        record = Record(self.task, horizon or FIRST_GUESS, n)
        # Each simulator plays one episode after another. Keys and seeds belong to the episode, so
        # the number of simulators does not change the chance that an episode sees.
        envs = self.simulators.playing(min(n, self.envs))
        actor = Actor(policy, key, len(envs))
        now = Standing.create(self.task, len(envs))
        waiting = iter(range(n))
        episode = np.array([next(waiting) for _ in envs], np.int32)
        for i, env in enumerate(envs):
            now.restart(i, *self.adapter.reset(env, seed_of(words, EPISODES, i)))
        playing = np.ones(len(envs), bool)
        while playing.any():
            actions = actor.act(now.observation, episode, now.length, now.length == 0)
            rows = np.flatnonzero(playing)
            record.write_report(now.length[rows], episode[rows], actor.memory, rows)
            for i in np.flatnonzero(playing).tolist():
                t = int(now.length[i])
                if t >= ENDLESS:
                    raise SurefootError(
                        f"An episode of '{self.task.name}' did not end in {ENDLESS} steps; "
                        "give horizon=STEPS."
                    )
                if self._play(envs[i], now, i, actions[i], record, t, int(episode[i])):
                    following = next(waiting, None)
                    if following is None:
                        playing[i] = False
                    else:
                        episode[i] = following
                        now.restart(i, *self.adapter.reset(envs[i], seed_of(words, EPISODES, following)))
        return record.trajectories(horizon or power_of_two(record.longest))

    def _play(
        self, env: gymnasium.Env, now: Standing, i: int, action: Any, record: Record, t: int, column: int
    ) -> bool:
        """One step of environment ``i``, written at ``[t, column]``; whether the episode ended."""
        outcome = self.adapter.step(env, now.raw[i], action, int(now.length[i]) + 1)
        record.write_step(t, column, now.observation[i], action, outcome)
        now.advance(i, outcome)
        record.write_totals(t, column, now, i)
        return outcome.terminated or outcome.truncated


class _Simulators:
    """The environments behind a world, made when first needed.

    Those that ``Episodes`` plays are apart from those that ``Steps`` moves, which so stay where they are.
    """

    def __init__(self, adapter: Adapter, made: list[gymnasium.Env] | None = None) -> None:
        self._adapter = adapter
        self._stepping: list[gymnasium.Env] = made or []
        self._playing: list[gymnasium.Env] = []
        self.turns = Turns(adapter.task.name)
        self._close = weakref.finalize(self, _close_all, self._stepping, self._playing)

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
