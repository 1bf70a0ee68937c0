"""Hopper, Walker2d, HalfCheetah and Ant with episodes that can be made to last exactly 1000 steps.

The bodies, observations, rewards and ends are those of Gymnasium's environments in version 5, with the
options that bring them next to the version 2 that the experiments on f-IRL used (Ni et al. 2020). What
is added is the choice what happens after a fall:

* ``absorbing=False``: the episode terminates there. For training: no value lies beyond a fall.
* ``absorbing=True``: the episode goes on to its time limit; the fall's observation comes again at each
  step and the reward is 0. For measuring the density of visited states and for recording experts: all
  trajectories have one length, and whoever falls early shows it by many copies of one state. (If
  episodes of unequal length are compared, their length gives away what the reward is.)

Needs ``pip install "surefoot[mujoco]"``. Version history: v0, first version.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np

from surefoot.envs._mujoco import mujoco, quiet
from surefoot.errors import SurefootError

HORIZON = 1000
"""Steps in an episode; Gymnasium's time limit truncates it, see ``TIME_LIMITS`` in this package."""


class FixedHorizon(gymnasium.Env[np.ndarray, np.ndarray]):
    """One of Gymnasium's environments, with a choice what happens after it terminates.

    Args:
        absorbing: whether the episode goes on in its last state; ``info["absorbed"]`` says that it does.
        render_mode: ``rgb_array`` (one picture a step) or ``human`` (a window).
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 20}  # noqa: RUF012
    base: ClassVar[str]
    """Gymnasium's identifier."""
    base_options: ClassVar[dict[str, Any]] = {}
    """What brings it next to version 2."""

    def __init__(self, *, absorbing: bool = False, render_mode: str | None = None) -> None:
        mujoco()
        with quiet():
            made = gymnasium.make(
                self.base,
                render_mode=render_mode,
                max_episode_steps=-1,  # no limit: it is put around this environment
                disable_env_checker=True,
                **self.base_options,
            )
        self.simulator: Any = made.unwrapped
        """Gymnasium's environment inside: model, data and the rest."""
        self.absorbing = absorbing
        self.render_mode = render_mode
        self.observation_space = self.simulator.observation_space
        self.action_space = self.simulator.action_space
        self.metadata = {**self.metadata, "render_fps": round(1 / self.simulator.dt)}
        self._last: Any = None
        self._absorbed = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A fresh episode, with the base's small noise on positions and velocities."""
        super().reset(seed=seed)
        self._last, info = self.simulator.reset(seed=seed, options=options)
        self._absorbed = False
        return self._last.copy(), {**info, "absorbed": False}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step of the base; after a fall, if ``absorbing``, its last observation and 0."""
        if self._last is None:
            raise SurefootError(f"{type(self).__name__}-v0: call reset() before step().")
        if self._absorbed and self.absorbing:
            return self._last.copy(), 0.0, False, False, {"absorbed": True}
        self._last, reward, terminated, _, info = self.simulator.step(action)
        self._absorbed = bool(terminated)
        ended = self._absorbed and not self.absorbing
        return self._last.copy(), float(reward), ended, False, {**info, "absorbed": False}

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """A picture ``[480, 480, 3]`` uint8."""
        return self.simulator.render()

    def close(self) -> None:
        """Closes the window or the renderer, if there is one."""
        self.simulator.close()


class FixedHopper(FixedHorizon):
    """One leg, ``surefoot/FixedHopper-v0``: 11 observations, 3 actions.

    Difference to Hopper-v2: the step of a fall does not earn the bonus of 1 for being upright.
    """

    base = "Hopper-v5"


class FixedWalker2d(FixedHorizon):
    """Two legs in a plane, ``surefoot/FixedWalker2d-v0``: 17 observations, 6 actions.

    It has the feet of versions 2 to 4, whose friction is 1.9 and 0.9; version 5 gave both 1.9.
    Difference to Walker2d-v2: the step of a fall does not earn the bonus of 1 for being upright.
    """

    base = "Walker2d-v5"
    base_options: ClassVar = {"xml_file": "walker2d.xml"}


class FixedHalfCheetah(FixedHorizon):
    """Two legs and a back, ``surefoot/FixedHalfCheetah-v0``: 17 observations, 6 actions; never falls.

    No difference to HalfCheetah-v2 is known, so both settings of ``absorbing`` are the same.
    """

    base = "HalfCheetah-v5"


class FixedAnt(FixedHorizon):
    """Four legs, ``surefoot/FixedAnt-v0``: 27 observations, 8 actions.

    Differences to Ant-v2: the 84 contact forces, which were always zero there (with MuJoCo 2.0 and later,
    openai/gym 1541), are left out of the observation, and so is their cost; the step of a fall does not
    earn the bonus of 1 for being upright.
    """

    base = "Ant-v5"
    base_options: ClassVar = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}
