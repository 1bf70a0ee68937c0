"""The same as :mod:`surefoot.worlds.relabel` for a Gymnasium environment, to be used with other libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from surefoot.errors import SurefootError, check_range


class RelabelReward(gymnasium.Wrapper, gymnasium.utils.RecordConstructorArgs):
    """A Gymnasium environment with another reward in the place of its own, or added to it as a prior.

    >>> env = gymnasium.make("surefoot/PointMass-v0")                                  # doctest: +SKIP
    >>> env = RelabelReward(env, load_reward("runs/recovered"))                        # doctest: +SKIP

    A step from s to s' pays r(s), as :func:`surefoot.relabel` does; with ``prior_weight`` it pays::

        r_env  +  prior_weight (discount r(s') - r(s))

    where r(s') counts as 0 if the step terminated the episode.
    ``info["environment_reward"]`` is the environment's own. States are observations, flattened or one-hot.

    Args:
        env: any environment whose observations can be flattened.
        reward: what :func:`surefoot.load_reward` returns, or any function of states ``[..., obs]`` to a
            number each. A loaded reward is computed by NumPy.
        prior_weight: if given, the environment's own reward stays.
        discount: of the potential; give the learner's.

    Raises:
        SurefootError: the reward does not fit the observations, or is not a finite number at a state.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        reward: Callable[[Any], Any],
        prior_weight: float | None = None,
        discount: float = 0.99,
    ) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(
            self, reward=reward, prior_weight=prior_weight, discount=discount
        )
        gymnasium.Wrapper.__init__(self, env)
        if prior_weight is not None:
            check_range("prior_weight", prior_weight, low=0, high=math.inf, open_high=True)
        check_range("discount", discount, low=0, high=1)
        self.reward, self.prior_weight, self.discount = _checked(reward, env), prior_weight, discount
        self._now: float | None = None
        """r of the state that the environment is in."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the environment does it."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._now = self._reward_of(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """As the environment does it, with the other reward."""
        if self._now is None:
            raise SurefootError(f"{_name(self.env)}: call reset() before step().")
        observation, own, terminated, truncated, info = self.env.step(action)
        before, self._now = self._now, self._reward_of(observation)
        if self.prior_weight is None:
            reward = before
        else:
            after = 0.0 if terminated else self._now
            reward = float(own) + self.prior_weight * (self.discount * after - before)
        return observation, reward, terminated, truncated, {**info, "environment_reward": float(own)}

    def _reward_of(self, observation: Any) -> float:
        state = np.asarray(gymnasium.spaces.flatten(self.env.observation_space, observation), np.float32)
        value = float(self.reward(state))
        if not math.isfinite(value):
            raise SurefootError(f"{_name(self.env)}: the reward is {value} at the observation {observation}.")
        return value


def _checked(reward: Callable[[Any], Any], env: gymnasium.Env) -> Callable[[Any], Any]:
    """``reward``, by NumPy alone if it can do that; raises if it does not fit the observations."""
    name = _name(env)
    try:
        size = gymnasium.spaces.flatdim(env.observation_space)
    except ValueError as error:
        raise SurefootError(
            f"The observations of '{name}' are in {type(env.observation_space).__name__}, which cannot be "
            "flattened to a vector."
        ) from error
    in_numpy = getattr(reward, "in_numpy", None)
    function = reward if in_numpy is None else in_numpy()
    try:
        shape = np.shape(function(np.zeros((2, 3, size), np.float32)))
    except (TypeError, ValueError, IndexError) as error:
        raise SurefootError(
            f"The reward does not fit '{name}', whose states have {size} numbers: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if shape != (2, 3):
        raise SurefootError(
            f"The reward must give one number for each state; for states of shape (2, 3, {size}) it gave "
            f"{shape}."
        )
    return function


def _name(env: gymnasium.Env) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
