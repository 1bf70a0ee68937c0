"""Returns and advantages along trajectories, time first."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def generalised_advantage(
    reward: Float[Array, "time *batch"],
    value: Float[Array, "time *batch"],
    next_value: Float[Array, "time *batch"],
    terminated: Bool[Array, "time *batch"],
    truncated: Bool[Array, "time *batch"],
    *,
    discount: float,
    trace: float,
) -> Float[Array, "time *batch"]:
    """Generalised advantage estimate (Schulman et al. 2016, Eqs. 11 and 16).

    With ``gamma`` the discount, ``lambda`` the trace and ``V(s')`` the value of the true successor::

        delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)
        A_t     = delta_t + gamma lambda (1 - terminated_t) (1 - truncated_t) A_{t+1},    A_T = 0

    A terminated step has no future. A truncated one has, and ``next_value`` stands for it, but the next
    row belongs to another episode, so nothing flows back from there. The last row bootstraps likewise.
    ``A_t + value`` is the TD(lambda) return, the target of the value network.
    """
    delta = reward + discount * jnp.where(terminated, 0.0, next_value) - value
    flow = discount * trace * (1.0 - (terminated | truncated))

    def step(later: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, flow = row
        advantage = delta + flow * later
        return advantage, advantage

    _, advantage = jax.lax.scan(step, jnp.zeros_like(delta[0]), (delta, flow), reverse=True)
    return advantage


def cost_advantage(
    cost: Float[Array, "time *batch constraints"],
    value: Float[Array, "time *batch constraints"],
    next_value: Float[Array, "time *batch constraints"],
    terminated: Bool[Array, "time *batch"],
    truncated: Bool[Array, "time *batch"],
    *,
    discount: float,
    trace: float,
) -> Float[Array, "time *batch constraints"]:
    """:func:`generalised_advantage` of each cost signal; the last axis runs over constraints."""
    ends = of_each(cost, terminated, truncated)
    return generalised_advantage(cost, value, next_value, *ends, discount=discount, trace=trace)


def of_each(
    signals: Float[Array, "time *batch signals"], *ends: Bool[Array, "time *batch"]
) -> tuple[Bool[Array, "time *batch signals"], ...]:
    """Where episodes end, once for each of the signals."""
    return tuple(jnp.broadcast_to(end[..., None], signals.shape) for end in ends)


def lambda_return(
    reward: Float[Array, "time *batch"],
    next_value: Float[Array, "time *batch"],
    terminated: Bool[Array, "time *batch"],
    truncated: Bool[Array, "time *batch"],
    *,
    discount: float,
    trace: float,
) -> Float[Array, "time *batch"]:
    """TD(lambda) target of an action-value function (Sutton and Barto 2018, Eq. 12.20).

    With ``V(s') = Q(s', pi(s'))`` of the true successor::

        G_t = r_t + gamma (1 - terminated_t) [(1 - lambda) V(s'_t) + lambda G_{t+1}]

    and ``G_t = r_t + gamma V(s'_t)`` where an episode is cut, and in the last row. ``lambda = 1`` is the
    Monte Carlo return, which bootstraps where an episode was cut and nowhere else.
    """
    ends = terminated | truncated
    known = jnp.where(terminated, 0.0, next_value)
    own = reward + discount * jnp.where(ends, 1.0, 1.0 - trace) * known
    flow = discount * jnp.where(ends, 0.0, trace)
    # The last row has no following one: V stands for it whole.
    own = own.at[-1].set(reward[-1] + discount * known[-1])

    def step(later: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        own, flow = row
        target = own + flow * later
        return target, target

    _, target = jax.lax.scan(step, jnp.zeros_like(own[0]), (own, flow), reverse=True)
    return target
