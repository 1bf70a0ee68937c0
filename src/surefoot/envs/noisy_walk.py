"""Noisy walk: ten steps in a plane under noise, where what pays is what costs.

The problem on which chapter 4 of Sikchi's thesis (2022, Sec. 4.4.3, Figure 4.4) compares how safe methods
bear a cost that is estimated from few samples. Reward and cost are the same number, so the best that a
policy can do is to sit on its limit, and each error of the estimate pushes it over.

| item | value |
| --- | --- |
| state | position ``p``, any point of the plane |
| action | ``a`` in ``[-0.2, 0.2]^2``: ``p' = p + a + N(0, noise^2)``, the noise in each entry |
| observation | 2 floats: the position, as it is |
| reward | ``|p'|``, the distance from the origin after the step |
| cost | ``distance``: the same number; 2 in an episode is allowed |
| start | exactly ``(0, 0)`` |
| end | never terminated; truncated after ``horizon`` actions |

Standing still costs 2.82 an episode on average and so is not safe; walking back, ``a = -clip(p)``, costs
1.26. The thesis writes N(0, 0.1) without saying whether 0.1 is a variance. It must be a standard
deviation: with the other no policy can stay within 2.

Version history: v0, first version.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from surefoot.envs.env import StepResult
from surefoot.errors import check_range
from surefoot.task import Box, Task

STRIDE = 0.2
"""Longest step along each axis."""


class State(eqx.Module):
    """Where the walker is, how many actions were taken, and the chance still to come."""

    position: Float[Array, " 2"]
    time: Int[Array, ""]
    key: PRNGKeyArray


@dataclass(frozen=True)
class NoisyWalk:
    """Settings of the walk, and its pure functions ``reset``, ``step`` and ``observe``."""

    noise: float = 0.1
    """Standard deviation of the noise of a step, in each entry."""
    limit: float = 2.0
    """Largest expected cost of an episode that counts as safe."""
    horizon: int = 10
    """Actions in an episode."""

    def __post_init__(self) -> None:
        check_range("noise", self.noise, low=0)
        check_range("limit", self.limit, low=0)
        check_range("horizon", self.horizon, low=1)

    @property
    def task(self) -> Task:
        """Two observations, two real actions, one constraint."""
        return Task(
            name="NoisyWalk-v0",
            observation=Box((2,), (-math.inf,) * 2, (math.inf,) * 2),
            action=Box((2,), (-STRIDE,) * 2, (STRIDE,) * 2),
            constraints=("distance",),
            limits=(float(self.limit),),
            horizon=self.horizon,
        )

    def reset(self, key: PRNGKeyArray) -> State:
        """At the origin; ``key`` is the chance of the whole episode."""
        return State(jnp.zeros(2), jnp.zeros((), jnp.int32), key)

    def observe(self, state: State) -> Float[Array, " 2"]:
        """The position."""
        return state.position

    def step(self, state: State, action: Float[Array, " 2"]) -> tuple[State, StepResult]:
        """Moves by ``action`` (clipped to +-0.2) and by noise; consumes a share of the state's key."""
        key, now = jax.random.split(state.key)
        stride = jnp.clip(action, -STRIDE, STRIDE)
        position = state.position + stride + self.noise * jax.random.normal(now, (2,))
        time = state.time + 1
        distance = jnp.sqrt(jnp.sum(position**2))
        no = jnp.zeros((), bool)
        result = StepResult(distance, distance[None], no, time >= self.horizon, no)
        return State(position, time, key), result


class WalkBack(eqx.Module):
    """The controller ``a = -clip(p)``: a safe policy to start from, which costs 1.26 an episode."""

    def act(self, observation: Float[Array, "*batch 2"], key: PRNGKeyArray) -> Float[Array, "*batch 2"]:
        """Straight back, or as far as a step reaches; takes no chance."""
        del key
        return jnp.clip(-observation, -STRIDE, STRIDE)
