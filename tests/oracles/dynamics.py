"""Ensembles whose members are exactly what they are said to be, and their predictions in plain NumPy."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from surefoot.networks.dynamics import Ensemble

SURE = -60.0
"""Log-variance of what has no noise to speak of."""


def linear_ensemble(changes, constants, log_variances=None, *, observation_size, rewards=False, costs=0):
    """Members whose mean is ``[s, a] @ changes[e] + constants[e]``, exactly.

    By x = swish(x) - swish(-x): hidden units are the inputs and their negatives.
    """
    changes, constants = np.asarray(changes, np.float32), np.asarray(constants, np.float32)
    members, inputs, outputs = changes.shape
    drawn = outputs - costs
    form = eqx.filter_eval_shape(
        Ensemble.create,
        observation_size,
        inputs - observation_size,
        key=jax.random.key(0),
        members=members,
        hidden=(2 * inputs,),
        rewards=rewards,
        costs=costs,
        cost_hidden=(2 * inputs,),
    )
    first = np.tile(np.concatenate([np.eye(inputs), -np.eye(inputs)], axis=1), (members, 1, 1))
    second = np.concatenate([changes, -changes], axis=1)
    if log_variances is None:
        log_variances = np.full((members, drawn), SURE)
    noise = np.broadcast_to(log_variances, (members, drawn))
    last = np.concatenate([constants[:, :drawn], noise], axis=-1)
    zero = np.zeros((members, 2 * inputs))
    values = (
        (first, np.pad(second[..., :drawn], ((0, 0), (0, 0), (0, drawn)))),
        (zero, last),
        (first, second[..., drawn:]) if costs else (),
        (zero, constants[:, drawn:]) if costs else (),
        np.full((members, drawn), 60.0),
        np.full((members, drawn), -120.0),
        np.zeros(inputs),
        np.ones(inputs),
        np.zeros(drawn),
        np.ones(drawn),
    )
    return eqx.tree_at(
        lambda e: (
            e.members.weights,
            e.members.biases,
            e.members.cost_weights,
            e.members.cost_biases,
            e.members.max_log_variance,
            e.members.min_log_variance,
            e.input_mean,
            e.input_scale,
            e.target_mean,
            e.target_scale,
            e.elites,
        ),
        form,
        (*jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), values), jnp.asarray(np.arange(members))),
    )


def drifting(drifts, *, observation_size=1, action_size=1, log_variance=SURE):
    """Members that move every entry of the state by their own constant, whatever is done."""
    changes = np.zeros((len(drifts), observation_size + action_size, observation_size))
    constants = np.tile(np.asarray(drifts, np.float32)[:, None], (1, observation_size))
    noise = np.full(constants.shape, log_variance)
    return linear_ensemble(changes, constants, noise, observation_size=observation_size)


def predict(ensemble, observation, action):
    """Means and log-variances of each member, row by row, layer by layer, in double precision."""
    x = np.concatenate([observation, action], axis=-1).astype(np.float64)
    x = (x - np.asarray(ensemble.input_mean)) / np.asarray(ensemble.input_scale)

    def network(weights, biases, e):
        h = x
        layers = list(zip(weights, biases, strict=True))
        for number, (weight, bias) in enumerate(layers):
            h = h @ np.asarray(weight[e], np.float64) + np.asarray(bias[e])
            if number < len(layers) - 1:
                h = h / (1 + np.exp(-h))
        return h

    scale, means, logs = np.asarray(ensemble.target_scale, np.float64), [], []
    m = ensemble.members
    for e in range(ensemble.size):
        mean, raw = np.split(network(m.weights, m.biases, e), 2, axis=-1)
        upper = np.asarray(m.max_log_variance[e], np.float64)
        lower = np.asarray(m.min_log_variance[e], np.float64)
        log = upper - np.logaddexp(0, upper - raw)
        mean = np.asarray(ensemble.target_mean) + scale * mean
        if ensemble.costs:
            mean = np.concatenate([mean, network(m.cost_weights, m.cost_biases, e)], axis=-1)
        means.append(mean)
        logs.append(lower + np.logaddexp(0, log - lower) + np.log(scale**2))
    return np.stack(means), np.stack(logs)
