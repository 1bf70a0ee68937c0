"""Random orders and fixed splits of 0 .. count - 1 that are computed, not stored.

For buffers that grow inside compiled code: ``count`` is an array, and nothing here has its size.
"""

from __future__ import annotations

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, UInt32


class Split(eqx.Module):
    """Which of the first ``count`` transitions are trained on.

    Of every ``block`` transitions in a row one is held out, whose place is a hash of the block's number:
    where a transition lies decides for ever. Both parts are numbered from 0, and no list of them is needed.
    """

    count: Int[Array, ""]
    block: int = eqx.field(static=True)
    """0 if none is held out."""

    @classmethod
    def of(cls, count: Int[Array, ""], holdout: float) -> Self:
        """With a share of ``holdout``, which is rounded to 1 / (a whole number)."""
        return cls(count, round(1 / holdout) if holdout else 0)

    @property
    def held(self) -> Int[Array, ""]:
        """Transitions held out."""
        if not self.block:
            return jnp.zeros_like(self.count)
        last = self.count // self.block
        return last + (self._place(last) < self.count % self.block)

    @property
    def train(self) -> Int[Array, ""]:
        """Transitions to train on."""
        return self.count - self.held

    def trained(self, number: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
        """Where the training transitions of these numbers lie."""
        if not self.block:
            return number
        block, offset = number // (self.block - 1), number % (self.block - 1)
        return block * self.block + offset + (offset >= self._place(block))

    def held_out(self, number: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
        """Where the transitions held out of these numbers lie."""
        return number * self.block + self._place(number)

    def _place(self, block: Array) -> Array:
        x = block.astype(jnp.uint32)
        for _ in range(2):
            x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
            x = x ^ (x >> 15)
        return (x % self.block).astype(jnp.int32)


ROUNDS = 6
"""Of mixing, for one permutation."""


def shuffle_keys(key: PRNGKeyArray, members: int) -> UInt32[Array, "members rounds 2"]:
    """Random numbers that stand for one order a member."""
    return jax.random.bits(key, (members, ROUNDS, 2), jnp.uint32)


def shuffled(
    rank: Int[Array, " batch"], count: Int[Array, ""], keys: UInt32[Array, "members rounds 2"]
) -> Int[Array, "members batch"]:
    """For each member the numbers at these places of a random order of 0 .. count - 1.

    Places beyond the end are taken as the last.

    Rounds of x + key, x * odd key and x ^ (x >> bits / 2) permute the numbers of so many bits; whatever falls
    beyond ``count`` goes round again until it does not ("cycle walking", Black and Rogaway 2002), and what is
    left is a permutation of 0 .. count - 1.
    """
    bits = 32 - jax.lax.clz(jnp.maximum(count - 1, 1).astype(jnp.uint32))
    mask = (jnp.uint32(1) << bits) - 1
    shift = (bits + 1) // 2
    limit = jnp.maximum(count, 1).astype(jnp.uint32)

    def once(x: Array) -> Array:
        for number in range(keys.shape[1]):
            add, factor = keys[:, number, 0, None], keys[:, number, 1, None] | 1
            x = ((x + add) * factor) & mask
            x = x ^ (x >> shift)
        return x

    # A walk comes back only to where the order has numbers: it must begin at one of them.
    inside = jnp.clip(rank, 0, jnp.maximum(count - 1, 0)).astype(jnp.uint32)
    start = jnp.broadcast_to(inside, (keys.shape[0], len(rank)))
    walked = jax.lax.while_loop(
        lambda x: jnp.any(x >= limit), lambda x: jnp.where(x >= limit, once(x), x), once(start)
    )
    return walked.astype(jnp.int32)
