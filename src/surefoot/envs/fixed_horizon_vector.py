"""Many bodies of one kind of :mod:`surefoot.envs.fixed_horizon` as a ``gymnasium.vector.VectorEnv``.

The physics of all bodies is one call into MuJoCo's threads; observations and rewards are array operations,
so that no Python runs for each body. Body ``i`` plays to the bit as a single environment with its seed does:
starts are those of a single environment, which stands ready for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from surefoot import _machine as machine
from surefoot.envs import fixed_horizon
from surefoot.envs._mujoco import mujoco, quiet
from surefoot.envs.fixed_horizon import HORIZON, FixedHorizon
from surefoot.errors import SurefootError, check_range


@dataclass(frozen=True)
class Rules:
    """What Gymnasium's environment computes from positions and velocities, for many bodies at once."""

    unseen: int
    """Positions that the observation leaves out: along x, or x and y."""
    fastest: float
    """Velocities are clipped to +- this in the observation."""
    effort: float
    """Weight of the sum of squared actions in the reward."""
    alive: float
    """Reward of a step that does not end in a fall."""
    upright: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """``[n, nq], [n, nv] -> [n]``: which bodies have not fallen."""
    place: str = "qpos"
    """``qpos``: the speed is that of the first position. ``xpos``: that of the torso, which MuJoCo last
    computed at the beginning of the last substep."""


def _hopper_stands(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    rest = np.concatenate([qpos, qvel], axis=1)[:, 2:]
    return (np.abs(rest) < 100).all(axis=1) & (qpos[:, 1] > 0.7) & (np.abs(qpos[:, 2]) < 0.2)


def _walker_stands(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    return (qpos[:, 1] > 0.8) & (qpos[:, 1] < 2.0) & (np.abs(qpos[:, 2]) < 1.0)


def _always(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    return np.ones(len(qpos), bool)


def _ant_stands(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    finite = np.isfinite(qpos).all(axis=1) & np.isfinite(qvel).all(axis=1)
    return finite & (qpos[:, 2] >= 0.2) & (qpos[:, 2] <= 1.0)


RULES: dict[type[FixedHorizon], Rules] = {
    fixed_horizon.FixedHopper: Rules(1, 10.0, 1e-3, 1.0, _hopper_stands),
    fixed_horizon.FixedWalker2d: Rules(1, 10.0, 1e-3, 1.0, _walker_stands),
    fixed_horizon.FixedHalfCheetah: Rules(1, np.inf, 0.1, 0.0, _always),
    fixed_horizon.FixedAnt: Rules(2, np.inf, 0.5, 1.0, _ant_stands, place="xpos"),
}
"""Gymnasium's numbers in version 5. The tests compare both step for step."""


class FixedHorizonVector(gymnasium.vector.VectorEnv):
    """``num_envs`` bodies of one kind.

    Args:
        kind: class of the single environment.
        num_envs: how many.
        absorbing: see :class:`surefoot.envs.fixed_horizon.FixedHorizon`.
        max_episode_steps: after which an episode is truncated.
        threads: of the physics; left out, one for each processor.
        autoreset_mode: Gymnasium's: ``NextStep``, ``SameStep``, or ``Disabled``, where
            ``reset(options={"reset_mask": mask})`` starts episodes.
        render_mode: ``rgb_array``: :meth:`render` returns a picture of each body.
    """

    def __init__(
        self,
        kind: type[FixedHorizon],
        num_envs: int = 1,
        *,
        absorbing: bool = False,
        max_episode_steps: int = HORIZON,
        threads: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        check_range("num_envs", num_envs, low=1)
        check_range("max_episode_steps", max_episode_steps, low=1)
        if threads is not None:
            check_range("threads", threads, low=1)
        self._package = mujoco()
        from mujoco import batch

        self.single = kind(absorbing=absorbing, render_mode=render_mode)
        """Makes starts and pictures."""
        self.rules, self.absorbing, self.render_mode = RULES[kind], absorbing, render_mode
        self.num_envs, self.max_episode_steps = num_envs, max_episode_steps
        self.single_observation_space = self.single.observation_space
        self.single_action_space = self.single.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.single.metadata, "autoreset_mode": self.autoreset_mode}
        simulator = self.single.simulator
        self._substeps, self._dt = int(simulator.frame_skip), float(simulator.dt)
        # Each body keeps an MjData of its own, as a single environment does: its solver goes on from there.
        self._batch: Any = batch.Batch(
            simulator.model, num_envs, min(num_envs, threads or machine.threads()), persistent=True
        )
        self._qpos, self._qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self._ctrl, self._xpos = self._batch.bind("ctrl"), self._batch.bind("xpos")
        self._torso = simulator.model.body("torso").id
        self._streams: list[np.random.Generator | None] = [None] * num_envs
        self._last = np.zeros(self.observation_space.shape or ())
        self._along = np.zeros(num_envs)  # where each body is along x
        self._length = np.zeros(num_envs, np.int64)
        self._absorbed, self._ended = np.zeros((2, num_envs), bool)
        self._fresh = np.ones(num_envs, bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New episodes for all bodies, or for those of ``options["reset_mask"]``.

        A single seed stands for ``seed, seed + 1, ...``; a body without one goes on with its stream.
        """
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + i for i in range(self.num_envs)]
        given: list[int | None] = [None] * self.num_envs if seed is None else list(seed)
        if len(given) != self.num_envs:
            raise SurefootError(f"{len(given)} seeds for {self.num_envs} bodies; give one for each.")
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self._restart(np.flatnonzero(mask), given)
        return self._last.copy(), self._infos()

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action for each body, or the reset of those that had ended, as ``autoreset_mode`` says.

        With ``Disabled`` a body that has ended stays where it is until it is reset, and earns nothing.
        """
        if self._fresh.any():
            raise SurefootError(f"{type(self.single).__name__}-v0: call reset() before step().")
        given = np.asarray(actions)
        if given.shape != self.action_space.shape or not np.isfinite(given).all():
            raise SurefootError(f"The actions must be {self.action_space.shape} finite numbers: {actions}")
        skipped = self._ended & (self.autoreset_mode == AutoresetMode.NEXT_STEP)
        waiting = self._ended & (self.autoreset_mode == AutoresetMode.DISABLED)
        moving = ~skipped & ~waiting & ~(self._absorbed & self.absorbing)
        reward = self._advance(given, np.flatnonzero(moving))
        self._length += 1
        terminated = self._absorbed & (not self.absorbing) & ~skipped
        truncated = (self._length >= self.max_episode_steps) & ~skipped
        self._ended = terminated | truncated
        info = self._infos(moving)
        if skipped.any():
            self._restart(np.flatnonzero(skipped), [None] * self.num_envs)
        elif self.autoreset_mode == AutoresetMode.SAME_STEP and self._ended.any():
            ended = self._ended.copy()
            final = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(ended):
                final[i] = self._last[i].copy()
            info |= {"final_info": dict(info), "_final_info": ended, "final_obs": final, "_final_obs": ended}
            self._restart(np.flatnonzero(ended), [None] * self.num_envs)
        return self._last.copy(), reward, terminated, truncated, info

    def save(self) -> dict[str, np.ndarray]:
        """Everything that decides what comes next, as arrays."""
        return {
            "state": self._batch.state.copy(),
            "last": self._last.copy(),
            "along": self._along.copy(),
            "length": self._length.copy(),
            "absorbed": self._absorbed.copy(),
            "ended": self._ended.copy(),
            "streams": np.array([_words(stream) for stream in self._streams], np.uint64),
        }

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Goes on exactly where :meth:`save` was called, in a vector of the same kind and size.

        Raises:
            SurefootError: it is from another kind or number of bodies.
        """
        mine = self.save()
        if saved.keys() != mine.keys() or any(saved[name].shape != mine[name].shape for name in mine):
            raise SurefootError("What is to be restored was saved from another kind or number of bodies.")
        self._batch.reset(stage=int(self._package.mjtStage.mjSTAGE_NONE))
        self._batch.state[:] = saved["state"]
        for name in ("last", "along", "length", "absorbed", "ended"):
            getattr(self, f"_{name}")[:] = saved[name]
        self._streams = [_stream(words) for words in saved["streams"]]
        self._fresh[:] = False

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture ``[480, 480, 3]`` uint8 of each body."""
        if self.render_mode is None:
            return None
        return tuple(self._picture(i) for i in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Frees threads, states and the renderer."""
        self._batch = None
        self.single.close()

    def _advance(self, actions: np.ndarray, bodies: np.ndarray) -> np.ndarray:
        """Moves these bodies; rewards ``[num_envs]``, 0 for the others."""
        reward = np.zeros(self.num_envs)
        if not len(bodies):
            return reward
        self._ctrl[bodies] = actions[bodies]
        with quiet(self._package):
            self._batch.step(None if len(bodies) == self.num_envs else bodies, nstep=self._substeps)
        qpos, qvel, rules = self._qpos[bodies], self._qvel[bodies], self.rules
        along = self._places()[bodies]
        standing = rules.upright(qpos, qvel)
        # The order of the operations is that of the single environment: a sum depends on it.
        speed = (along - self._along[bodies]) / self._dt
        effort = rules.effort * np.sum(np.square(actions[bodies]), axis=1)
        reward[bodies] = (speed + standing * rules.alive) - effort
        seen = np.clip(qvel, -rules.fastest, rules.fastest)
        self._last[bodies] = np.concatenate([qpos[:, rules.unseen :], seen], axis=1)
        self._along[bodies], self._absorbed[bodies] = along, ~standing
        return reward

    def _places(self) -> np.ndarray:
        """``[num_envs]`` along x, as the single environment reads it."""
        return self._qpos[:, 0] if self.rules.place == "qpos" else self._xpos[:, self._torso, 0]

    def _restart(self, bodies: np.ndarray, seeds: list[int | None]) -> None:
        if not len(bodies):
            return
        self._batch.reset(bodies, stage=int(self._package.mjtStage.mjSTAGE_NONE))
        data = self.single.simulator.data
        for i in bodies.tolist():
            stream = self._streams[i] if seeds[i] is None else None
            stream = stream or seeding.np_random(seeds[i])[0]
            self._streams[i] = self.single.simulator.np_random = stream
            self._last[i], _ = self.single.reset()
            self._qpos[i], self._qvel[i] = data.qpos, data.qvel
        self._batch.forward(bodies)
        self._along[bodies], self._length[bodies] = self._places()[bodies], 0
        self._absorbed[bodies], self._ended[bodies], self._fresh[bodies] = False, False, False

    def _infos(self, moving: np.ndarray | None = None) -> dict[str, Any]:
        """Whether each body lay still in this step, after a fall, with Gymnasium's mask."""
        absorbed = np.zeros(self.num_envs, bool) if moving is None else self._absorbed & ~moving
        return {"absorbed": absorbed, "_absorbed": np.ones(self.num_envs, bool)}

    def _picture(self, body: int) -> Any:
        simulator = self.single.simulator
        simulator.data.qpos[:], simulator.data.qvel[:] = self._qpos[body], self._qvel[body]
        self._package.mj_forward(simulator.model, simulator.data)
        return self.single.render()


def _words(stream: np.random.Generator | None) -> list[int]:
    """A stream of Gymnasium's (PCG64) as six words of 64 bits; zeros where there is none yet."""
    if stream is None:
        return [0] * 6
    state: Any = stream.bit_generator.state
    low = (1 << 64) - 1
    numbers = state["state"]["state"], state["state"]["inc"]
    halves = [half for number in numbers for half in (number >> 64, number & low)]
    return [*halves, state["has_uint32"], state["uinteger"]]


def _stream(words: np.ndarray) -> np.random.Generator | None:
    """The stream that :func:`_words` wrote down."""
    if not words.any():
        return None
    high, low, inc_high, inc_low, has, integer = (int(word) for word in words)
    bits: Any = np.random.PCG64()
    inner = {"state": high << 64 | low, "inc": inc_high << 64 | inc_low}
    bits.state = {"bit_generator": "PCG64", "state": inner, "has_uint32": has, "uinteger": integer}
    return np.random.Generator(bits)


FixedHopper = partial(FixedHorizonVector, fixed_horizon.FixedHopper)
FixedWalker2d = partial(FixedHorizonVector, fixed_horizon.FixedWalker2d)
FixedHalfCheetah = partial(FixedHorizonVector, fixed_horizon.FixedHalfCheetah)
FixedAnt = partial(FixedHorizonVector, fixed_horizon.FixedAnt)
