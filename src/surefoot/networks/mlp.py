"""Multi-layer perceptrons on batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Activation = Literal["relu", "tanh"]
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": jax.nn.relu, "tanh": jnp.tanh}


class Mlp(eqx.Module):
    """``sizes[0]`` inputs, hidden layers, ``sizes[-1]`` linear outputs; takes any leading axes."""

    weights: tuple[Float[Array, "_in _out"], ...]
    biases: tuple[Float[Array, " _out"], ...]
    activation: Activation = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        sizes: tuple[int, ...],
        key: PRNGKeyArray,
        *,
        activation: Activation = "relu",
        last_scale: float = 1.0,
    ) -> Mlp:
        """Weights and biases uniform in +-1/sqrt(inputs), the last layer times ``last_scale``."""
        layers = list(zip(sizes[:-1], sizes[1:], strict=True))
        # One draw for the whole network: a draw an array takes several times as long to compile.
        draws = jax.random.uniform(key, (sum((n_in + 1) * n_out for n_in, n_out in layers),), minval=-1.0)
        weights, biases, start = [], [], 0
        for n_in, n_out in layers:
            bound = n_in**-0.5 * (last_scale if len(weights) == len(layers) - 1 else 1.0)
            middle, end = start + n_in * n_out, start + (n_in + 1) * n_out
            weights.append(bound * draws[start:middle].reshape(n_in, n_out))
            biases.append(bound * draws[middle:end])
            start = end
        return cls(tuple(weights), tuple(biases), activation)

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            if layer < len(self.weights) - 1:
                x = _ACTIVATIONS[self.activation](x)
        return x
