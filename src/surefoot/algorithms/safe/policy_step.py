"""One trust-region step of a deterministic policy with exploration noise (Sec. 4.3.1 of the thesis)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from surefoot.networks.policies import BoundedGaussianPolicy
from surefoot.numerics.trust_region import fisher_product, gaussian_kl, line_search, steepest_step

GAIN = 0.1
"""Least share of the decrease that the slope promised."""
TRIALS = 10
"""Of a line search, each half as long as the one before."""


class Moved(eqx.Module):
    """A policy after a step, and how far that was."""

    policy: BoundedGaussianPolicy
    kl: Float[Array, ""]
    """Mean divergence from the policy before, in nats."""
    fraction: Float[Array, ""]
    """Accepted share of the full step, 0 if the policy stands where it was."""


def trust_region_step(
    policy: BoundedGaussianPolicy,
    observation: Float[Array, "batch obs"],
    weight: Float[Array, " batch"],
    loss: Callable[[Array], Array],
    *,
    radius: float,
    damping: float,
    safe: Callable[[Array], Array] | None = None,
) -> Moved:
    """Moves the network so that ``loss(actions)`` falls, within a mean divergence of ``radius``.

    ``loss`` takes the mean actions ``[batch, act]`` and is itself a mean with ``weight`` over the states.
    Its slope and the Fisher matrix of N(mean(s), std^2) at the policy give the full step, which is brought
    back to the radius where its true divergence is beyond. A first search
    takes the largest of 1, 1/2, ... that lowers the loss by a tenth of what the slope promised at least
    and keeps the divergence; a second one shortens that until ``safe(actions)``. Where a search finds
    nothing, the policy stays.
    """
    theta, rebuild = ravel_pytree(policy.network)

    def means(theta: Array) -> Array:
        return with_network(policy, rebuild(theta)).mode(observation)

    def divergence(here: Array, there: Array) -> Array:
        return weight @ gaussian_kl(here, policy.log_std, there, policy.log_std)

    here = means(theta)
    before, slope = jax.value_and_grad(lambda theta: loss(means(theta)))(theta)
    step = steepest_step(fisher_product(means, divergence, theta, damping=damping), slope, radius)
    # Where the quadratic model of the divergence is off, that must not cost half of the step.
    whole = divergence(here, means(theta + step))
    kept = jnp.where(whole > radius, jnp.sqrt(0.99 * radius / whole), 1.0)
    step *= kept

    def improves(fraction: Array) -> Array:
        there = means(theta + fraction * step)
        gain, promised = before - loss(there), -fraction * (slope @ step)
        return (gain > 0) & (gain > GAIN * promised) & (divergence(here, there) <= radius)

    fraction = line_search(improves, factor=0.5, trials=TRIALS)
    if safe is not None:
        first = fraction
        fraction *= line_search(lambda share: safe(means(theta + share * first * step)), trials=TRIALS)
    theta = jnp.where(fraction > 0, theta + fraction * step, theta)
    moved = with_network(policy, rebuild(theta))
    return Moved(moved, divergence(here, means(theta)), fraction * kept)


def descend(
    policy: BoundedGaussianPolicy,
    error: Callable[[BoundedGaussianPolicy], Array],
    *,
    steps: int,
    learning_rate: float,
) -> BoundedGaussianPolicy:
    """``policy`` after ``steps`` of Adam on ``error(policy)``; only its network moves, not its spread."""
    adam = optax.adam(learning_rate)

    def step(_: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        network, state = carry
        slope = jax.grad(lambda network: error(with_network(policy, network)))(network)
        change, state = adam.update(slope, state)
        return optax.apply_updates(network, change), state

    start = (policy.network, adam.init(eqx.filter(policy.network, eqx.is_array)))
    network, _ = jax.lax.fori_loop(0, steps, step, start)
    return with_network(policy, network)


def with_network(policy: BoundedGaussianPolicy, network: Any) -> BoundedGaussianPolicy:
    """``policy`` with other means."""
    return eqx.tree_at(lambda p: p.network, policy, network)
