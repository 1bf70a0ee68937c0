"""What methods with a discriminator share: its losses, its training, and the density ratio it stands for.

A discriminator D is a logit: trained to tell the expert's states from the agent's, its best value is
``D(s) = log(rho_E(s) / rho(s))`` (Goodfellow et al. 2014; Ni et al. 2020, Eq. 6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray


@runtime_checkable
class Network(Protocol):
    """What is needed of a discriminator's or critic's network."""

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch"]: ...

    def training(self, x: Float[Array, "batch in"]) -> tuple[Float[Array, " batch"], Self]:
        """Output on a batch that is trained on, and the network with what it keeps of the batch."""
        ...


class Discriminator(eqx.Module):
    """A network and its optimiser."""

    network: Network
    optimiser: optax.OptState

    @classmethod
    def create(cls, network: Network, adam: optax.GradientTransformation) -> Self:
        """With a fresh optimiser."""
        return cls(network, adam.init(eqx.filter(network, eqx.is_inexact_array)))

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch"]:
        return self.network(x)


Loss = Callable[[Network, PRNGKeyArray], tuple[Float[Array, ""], Network]]
"""Value on a random batch, and the network with what it keeps of the batch."""


def adam(learning_rate: float, *, b1: float = 0.9, b2: float = 0.999, decay: float = 0.0):
    """Adam; ``decay`` times the weights is added to the gradient (L2, not decoupled)."""
    plain = optax.adam(learning_rate, b1=b1, b2=b2)
    return optax.chain(optax.add_decayed_weights(decay), plain) if decay else plain


def train(
    discriminator: Discriminator,
    loss: Loss,
    optimiser: optax.GradientTransformation,
    key: PRNGKeyArray,
    steps: int,
) -> tuple[Discriminator, Float[Array, ""]]:
    """``steps`` steps of the optimiser; returns the mean of the last tenth of the losses too."""

    def step(discriminator: Discriminator, key: PRNGKeyArray) -> tuple[Discriminator, Array]:
        value_and_grad = eqx.filter_value_and_grad(loss, has_aux=True)
        (value, network), gradient = value_and_grad(discriminator.network, key)
        weights = eqx.filter(discriminator.network, eqx.is_inexact_array)
        update, state = optimiser.update(gradient, discriminator.optimiser, weights)
        return Discriminator(eqx.apply_updates(network, update), state), value

    discriminator, losses = jax.lax.scan(step, discriminator, jax.random.split(key, steps))
    return discriminator, jnp.mean(losses[-max(1, steps // 10) :])


def rows(states: Float[Array, "n d"], key: PRNGKeyArray, batch: int) -> Float[Array, "batch d"]:
    """``batch`` states, uniformly with replacement."""
    return states[jax.random.randint(key, (batch,), 0, len(states))]


def cross_entropy(
    network: Network,
    expert: Float[Array, "batch d"],
    agent: Float[Array, "batch d"],
    weight: Float[Array, " batch"] | float = 1.0,
) -> tuple[Float[Array, ""], Network]:
    """Mean binary cross-entropy of both halves, the expert's class being 1 and weighted by ``weight``.

    With a given expert density there are no expert states; then the agent's own stand in both halves, and
    the weights are importance ratios rho_E / rho (thesis Eq. 3.43).
    """
    batch = len(expert)
    logits, network = network.training(jnp.concatenate([expert, agent]))
    positive, negative = jax.nn.softplus(-logits[:batch]), jax.nn.softplus(logits[batch:])
    return 0.5 * (jnp.mean(weight * positive) + jnp.mean(negative)), network


def gradient_penalty(
    network: Network, expert: Float[Array, "batch d"], agent: Float[Array, "batch d"], key: PRNGKeyArray
) -> Float[Array, ""]:
    """Mean of (|grad_s D(s)| - 1)^2 at random points between the two (Gulrajani et al. 2017)."""
    share = jax.random.uniform(key, (len(expert), 1))
    between = share * expert + (1 - share) * agent
    slope = jax.vmap(jax.grad(lambda s: network(s)))(between)
    # The root has no gradient at zero, where a logit is cut.
    norm = jnp.sqrt(jnp.sum(slope**2, axis=-1) + 1e-12)
    return jnp.mean((norm - 1) ** 2)


def cross_entropy_loss(expert: Float[Array, "n d"], agent: Float[Array, "m d"], batch: int) -> Loss:
    """The loss of a discriminator of two sets of states, on ``batch`` of each."""

    def loss(network: Network, key: PRNGKeyArray) -> tuple[Float[Array, ""], Network]:
        key_expert, key_agent = jax.random.split(key)
        return cross_entropy(network, rows(expert, key_expert, batch), rows(agent, key_agent, batch))

    return loss


def wasserstein_loss(
    expert: Float[Array, "n d"], agent: Float[Array, "m d"], batch: int, *, penalty: float
) -> Loss:
    """The loss of a critic whose means differ most, with slopes near 1 (Gulrajani et al. 2017)."""

    def loss(network: Network, key: PRNGKeyArray) -> tuple[Float[Array, ""], Network]:
        key_expert, key_agent, key_between = jax.random.split(key, 3)
        theirs, ours = rows(expert, key_expert, batch), rows(agent, key_agent, batch)
        value = jnp.mean(network(ours)) - jnp.mean(network(theirs))
        return value + penalty * gradient_penalty(network, theirs, ours, key_between), network

    return loss
