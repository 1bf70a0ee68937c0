"""Networks from states to one number: learned rewards, and discriminators of two sets of states."""

from __future__ import annotations

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.networks.mlp import Activation, Mlp

LIMIT = 10.0
"""Rewards and logits are cut at plus and minus this (Ni et al. 2020)."""


class RewardNetwork(eqx.Module):
    """r(s) of chosen entries of the state, within +-10; beyond, its gradient is zero.

    As in the code of Ni et al. 2020 the first of the ``layers`` hidden layers is linear.
    """

    embedding: Mlp
    body: Mlp
    indices: tuple[int, ...] = eqx.field(static=True)
    """Entries of the observation that the reward depends on."""

    @classmethod
    def create(
        cls,
        indices: tuple[int, ...],
        width: int,
        key: PRNGKeyArray,
        *,
        activation: Activation = "relu",
        layers: int = 2,
    ) -> Self:
        """Fresh, with ``layers`` hidden layers of ``width``."""
        key_in, key_out = jax.random.split(key)
        embedding = Mlp.create((len(indices), width), key_in)
        return cls(embedding, Mlp.create((width,) * layers + (1,), key_out, activation=activation), indices)

    def __call__(self, observation: Float[Array, "*batch obs"]) -> Float[Array, "*batch"]:
        chosen = observation[..., jnp.asarray(self.indices)]
        return jnp.clip(self.body(self.embedding(chosen))[..., 0], -LIMIT, LIMIT)


class BatchNorm(eqx.Module):
    """Batch normalisation (Ioffe and Szegedy 2015), of one or of several stacked layers."""

    scale: Float[Array, "*layers width"]
    offset: Float[Array, "*layers width"]
    mean: Float[Array, "*layers width"]
    """Running mean, used outside training."""
    variance: Float[Array, "*layers width"]

    @classmethod
    def create(cls, *shape: int) -> Self:
        """The identity."""
        one, zero = jnp.ones(shape), jnp.zeros(shape)
        return cls(one, zero, zero, one)

    def __call__(self, x: Float[Array, "batch width"]) -> Float[Array, "batch width"]:
        """By the running statistics, which are no parameters: no gradient reaches them."""
        mean, variance = jax.lax.stop_gradient((self.mean, self.variance))
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * self.scale + self.offset

    def training(self, x: Float[Array, "batch width"]) -> tuple[Float[Array, "batch width"], Self]:
        """By the statistics of the batch, a tenth of which enters the running ones."""
        mean, variance = jnp.mean(x, axis=0), jnp.var(x, axis=0)
        y = (x - mean) * jax.lax.rsqrt(variance + 1e-5) * self.scale + self.offset
        unbiased = variance * len(x) / max(len(x) - 1, 1)
        running = (0.9 * self.mean + 0.1 * mean, 0.9 * self.variance + 0.1 * unbiased)
        return y, eqx.tree_at(lambda n: (n.mean, n.variance), self, jax.lax.stop_gradient(running))


class ResidualNetwork(eqx.Module):
    """Linear layer, blocks ``x <- x + tanh(linear(x))``, linear layer; the output within +-``limit``."""

    embedding: Mlp
    weights: Float[Array, "blocks width width"]
    biases: Float[Array, "blocks width"]
    head: Mlp
    norm: BatchNorm | None
    """One a block, before its tanh."""
    limit: float | None = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        size: int,
        width: int,
        blocks: int,
        key: PRNGKeyArray,
        *,
        batch_norm: bool = False,
        limit: float | None = LIMIT,
    ) -> Self:
        """Fresh, for inputs of ``size`` numbers."""
        key_in, key_blocks, key_out = jax.random.split(key, 3)
        drawn = width**-0.5 * jax.random.uniform(key_blocks, (blocks, width + 1, width), minval=-1.0)
        norm = BatchNorm.create(blocks, width) if batch_norm else None
        embedding, head = Mlp.create((size, width), key_in), Mlp.create((width, 1), key_out)
        return cls(embedding, drawn[:, 1:], drawn[:, 0], head, norm, limit)

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch"]:
        def block(x: Array, layer: tuple[Array, Array, BatchNorm | None]) -> tuple[Array, None]:
            weight, bias, norm = layer
            y = x @ weight + bias
            return x + jnp.tanh(y if norm is None else norm(y)), None

        x, _ = jax.lax.scan(block, self.embedding(x), (self.weights, self.biases, self.norm))
        return _cut(self.head(x)[..., 0], self.limit)

    def training(self, x: Float[Array, "batch in"]) -> tuple[Float[Array, " batch"], Self]:
        """Output on a batch that is trained on, and the network with new running statistics."""
        if self.norm is None:
            return self(x), self

        def block(x: Array, layer: tuple[Array, Array, BatchNorm]) -> tuple[Array, BatchNorm]:
            weight, bias, norm = layer
            y, norm = norm.training(x @ weight + bias)
            return x + jnp.tanh(y), norm

        x, norm = jax.lax.scan(block, self.embedding(x), (self.weights, self.biases, self.norm))
        return _cut(self.head(x)[..., 0], self.limit), eqx.tree_at(lambda n: n.norm, self, norm)


class MlpNetwork(eqx.Module):
    """A multi-layer perceptron with one output, within +-``limit``."""

    mlp: Mlp
    limit: float | None = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        size: int,
        hidden: tuple[int, ...],
        key: PRNGKeyArray,
        *,
        activation: Activation = "tanh",
        limit: float | None = LIMIT,
    ) -> Self:
        """Fresh, for inputs of ``size`` numbers."""
        return cls(Mlp.create((size, *hidden, 1), key, activation=activation), limit)

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch"]:
        return _cut(self.mlp(x)[..., 0], self.limit)

    def training(self, x: Float[Array, "batch in"]) -> tuple[Float[Array, " batch"], Self]:
        """As :meth:`ResidualNetwork.training`; nothing is kept of a batch."""
        return self(x), self


def _cut(x: Array, limit: float | None) -> Array:
    return x if limit is None else jnp.clip(x, -limit, limit)
