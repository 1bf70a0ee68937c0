"""Learned models of dynamics as files: one safetensors file, whose header says what it is a model of.

>>> save_dynamics("model.safetensors", ensemble, environment="gymnasium:Hopper-v5")     # doctest: +SKIP
>>> ensemble = load_dynamics("model.safetensors", observation_size=11, action_size=3)   # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from surefoot.errors import SurefootError
from surefoot.networks.dynamics import Ensemble
from surefoot.training.run import atomic_write

FORMAT = 2
"""Version of the header."""


def save_dynamics(path: str | os.PathLike[str], ensemble: Ensemble, *, environment: str = "") -> None:
    """Writes the ensemble, not the state of its optimiser, whole or not at all."""
    from safetensors.numpy import save

    about = {
        "format": FORMAT,
        "kind": "dynamics",
        "environment": environment,
        "observation_size": ensemble.observation_size,
        "action_size": ensemble.action_size,
        "members": ensemble.size,
        "hidden": _hidden(ensemble.members.weights),
        "cost_hidden": _hidden(ensemble.members.cost_weights) or [1],
        "rewards": ensemble.rewards,
        "costs": ensemble.costs,
        "elites": len(ensemble.elites),
    }
    tensors = {name: np.array(value) for name, value in _named(ensemble).items()}
    atomic_write(Path(path), save(tensors, metadata={"surefoot": json.dumps(about)}))


def load_dynamics(
    path: str | os.PathLike[str],
    *,
    observation_size: int | None = None,
    action_size: int | None = None,
    costs: int | None = None,
) -> Ensemble:
    """The ensemble in a file that :func:`save_dynamics` wrote.

    Args:
        path: the file.
        observation_size: entries of the states that it is needed for; likewise the others.
        action_size: entries of the actions.
        costs: how many costs it is to predict.

    Raises:
        SurefootError: there is no such file, it is damaged, or it is a model for other sizes.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(path)
    damaged = SurefootError(f"{file} is damaged or no model of dynamics; save it again.")
    if not file.is_file():
        raise SurefootError(f"There is no model in '{file}'; give a file that save_dynamics wrote.")
    try:
        with safe_open(str(file), framework="numpy") as opened:
            about = json.loads((opened.metadata() or {})["surefoot"])
            tensors: dict[str, np.ndarray] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        version, kind = about["format"], about["kind"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        raise damaged from None
    if (version, kind) != (FORMAT, "dynamics"):
        raise SurefootError(f"{file} has format {version}; this version of surefoot reads format {FORMAT}.")
    try:
        template = eqx.filter_eval_shape(
            Ensemble.create,
            about["observation_size"],
            about["action_size"],
            key=jax.random.key(0),
            members=about["members"],
            hidden=tuple(about["hidden"]),
            rewards=about["rewards"],
            costs=about["costs"],
            cost_hidden=tuple(about["cost_hidden"]),
            elites=about["elites"],
        )
    except (KeyError, TypeError, SurefootError):
        raise damaged from None
    template.check_sizes(
        template.observation_size if observation_size is None else observation_size,
        template.action_size if action_size is None else action_size,
        costs,
    )
    wanted = _named(template)
    fits = {name: (x.shape, np.dtype(x.dtype)) for name, x in wanted.items()} == {
        name: (x.shape, x.dtype) for name, x in tensors.items()
    }
    if not fits or not all(np.all(np.isfinite(x)) for x in tensors.values()):
        raise damaged
    leaves = [jnp.asarray(tensors[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _hidden(weights: tuple[Any, ...]) -> list[int]:
    return [int(weight.shape[2]) for weight in weights[:-1]]


def _named(ensemble: Any) -> dict[str, Any]:
    named = jax.tree_util.tree_flatten_with_path(ensemble)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): value for path, value in named}
