"""Learned rewards as files: kept apart from the policy and training that they came from.

A reward folder (``reward/`` of a run) holds ``reward.json``, which says what the numbers mean, and
``seed-S.safetensors``, the network of each seed. A loaded reward is a function of states:

>>> reward = load_reward("runs/recovered")                                        # doctest: +SKIP
>>> reward(states)                               # [..., obs] -> [...]            # doctest: +SKIP

and takes the place of an environment's own, see :mod:`surefoot.worlds.relabel`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from surefoot.errors import SurefootError
from surefoot.networks.mlp import Mlp
from surefoot.networks.rewards import LIMIT, RewardNetwork
from surefoot.training.run import atomic_write

if TYPE_CHECKING:
    from surefoot.task import Task

FORMAT = 1
"""Version of the layout of a reward folder."""


class LearnedReward(eqx.Module):
    """A reward of the state that was learned, frozen."""

    network: RewardNetwork
    size: int = eqx.field(static=True)
    """Entries of one state."""
    environment: str = eqx.field(static=True)
    """Where it was learned."""
    path: str = eqx.field(static=True)
    """Folder that it was read from."""
    seed: int = eqx.field(static=True)
    digest: str = eqx.field(static=True)
    """SHA-256 of its numbers."""

    def __call__(self, states: Float[Array, "*batch obs"] | np.ndarray) -> Float[Array, "*batch"]:
        """r of each state; raises :class:`SurefootError` for states of another size."""
        states = jnp.asarray(states, jnp.float32)
        self._check(states.shape)
        return self.network(states)

    def in_numpy(self) -> Callable[[np.ndarray], np.ndarray]:
        """The same function in NumPy alone: for single states much quicker than a compiled call each."""
        indices = list(self.indices)
        layers = [_layers(self.network.embedding), _layers(self.network.body)]

        def reward(states: np.ndarray) -> np.ndarray:
            states = np.asarray(states, np.float32)
            self._check(states.shape)
            x = states[..., indices]
            for network in layers:
                for number, (weight, bias) in enumerate(network):
                    x = x @ weight + bias
                    if number < len(network) - 1:
                        x = np.tanh(x) if self.network.body.activation == "tanh" else np.maximum(x, 0)
            return np.asarray(np.clip(x[..., 0], -LIMIT, LIMIT))

        return reward

    def _check(self, shape: tuple[int, ...]) -> None:
        if not shape or shape[-1] != self.size:
            raise SurefootError(
                f"The reward in {self.path} was learned on {self.environment}, whose states have {self.size} "
                f"numbers; it was given an array of shape {shape}."
            )

    @property
    def indices(self) -> tuple[int, ...]:
        """Entries of the state that it depends on."""
        return self.network.indices


def save_reward(
    path: str | os.PathLike[str],
    rewards: Sequence[RewardNetwork],
    task: Task,
    seeds: Sequence[int],
    *,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Writes one reward a seed into the folder ``path``; ``notes`` are further entries of the JSON file."""
    from safetensors.numpy import save

    folder, first = Path(path), rewards[0]
    for reward, seed in zip(rewards, seeds, strict=True):
        atomic_write(folder / f"seed-{seed}.safetensors", save(_tensors(reward)))
    observation = task.observation
    finite = [
        [x if math.isfinite(x) else None for x in bound] for bound in (observation.low, observation.high)
    ]
    description = {
        "format": FORMAT,
        "kind": "reward of the state",
        "indices": list(first.indices),
        "width": int(first.embedding.biases[0].shape[0]),
        "layers": len(first.body.weights),
        "activation": first.body.activation,
        "observation": {"shape": list(observation.shape), "low": finite[0], "high": finite[1]},
        "environment": task.name,
        "seeds": [int(seed) for seed in seeds],
        **(notes or {}),
    }
    atomic_write(folder / "reward.json", (json.dumps(description, indent=2) + "\n").encode())


def describe_reward(path: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    """The folder with the reward that ``path`` (a run, or that folder) means, and its ``reward.json``."""
    given = Path(path)
    for folder in (given / "reward", given):
        if (folder / "reward.json").is_file():
            break
    else:
        raise SurefootError(
            f"There is no reward in '{given}'; give the run of a method that learns one, such as "
            "`surefoot train firl`."
        )
    file = folder / "reward.json"
    try:
        about = json.loads(file.read_bytes())
        version = about["format"]
        if version != FORMAT:
            raise SurefootError(
                f"{file} has format {version}, this version of surefoot reads format {FORMAT}; use the "
                "version that wrote it, or train the reward again."
            )
        observation = about["observation"]
        sizes = len(about["indices"]), about["width"], about["layers"], *observation["shape"]
        lengths = len(about["seeds"]), len(observation["low"]), len(observation["high"])
        words = about["environment"], about["activation"]
    except SurefootError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        raise _damaged(file) from None
    sound = all(isinstance(size, int) and 0 < size < 10**6 for size in (*sizes, *lengths))
    if not sound or not all(isinstance(word, str) for word in words):
        raise _damaged(file)
    if lengths[1:] != (math.prod(observation["shape"]),) * 2:
        raise _damaged(file)
    return folder, about


def _damaged(file: Path) -> SurefootError:
    return SurefootError(f"{file} is damaged; restore it, or train the reward again.")


def load_reward(path: str | os.PathLike[str], seed: int | None = None) -> LearnedReward:
    """The reward of one seed, the first if ``seed`` is left out.

    Args:
        path: a run, or a folder that :func:`save_reward` wrote.
        seed: of the training.

    Raises:
        SurefootError: there is no reward, no such seed, or the files are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder, about = describe_reward(path)
    chosen: int = about["seeds"][0] if seed is None else seed
    if chosen not in about["seeds"]:
        raise SurefootError(f"{folder} has no seed {chosen}; it has {about['seeds']}.")
    file = folder / f"seed-{chosen}.safetensors"
    try:
        data = file.read_bytes()
        tensors = load(data)
    except (OSError, SafetensorError) as error:
        raise SurefootError(
            f"{file} cannot be read ({error}); restore it, or train the reward again."
        ) from None
    template = eqx.filter_eval_shape(
        RewardNetwork.create,
        tuple(about["indices"]),
        about["width"],
        jax.random.key(0),
        activation="tanh" if about["activation"] == "tanh" else "relu",
        layers=about["layers"],
    )
    network = _filled(template, tensors, file)
    size = math.prod(about["observation"]["shape"])
    if not all(0 <= index < size for index in network.indices):
        raise _damaged(folder / "reward.json")
    digest = hashlib.sha256(data + json.dumps(about["indices"]).encode()).hexdigest()
    return LearnedReward(network, size, about["environment"], str(folder.resolve()), chosen, digest)


def _layers(network: Mlp) -> list[tuple[np.ndarray, np.ndarray]]:
    pairs = zip(network.weights, network.biases, strict=True)
    return [(np.asarray(weight), np.asarray(bias)) for weight, bias in pairs]


def _tensors(reward: RewardNetwork) -> dict[str, np.ndarray]:
    named = jax.tree_util.tree_flatten_with_path(eqx.filter(reward, eqx.is_array))[0]
    return {_name(path): np.array(value) for path, value in named}


def _filled(template: Any, tensors: Mapping[str, np.ndarray], file: Path) -> Any:
    """``template`` with the numbers of the file, if they fit it."""
    named, form = jax.tree_util.tree_flatten_with_path(template)
    wanted = {_name(path): value.shape for path, value in named}
    if {name: value.shape for name, value in tensors.items()} != wanted:
        raise SurefootError(f"{file} does not fit reward.json; restore both, or train the reward again.")
    for name, value in tensors.items():
        if value.dtype != np.float32 or not np.isfinite(value).all():
            raise SurefootError(f"{file}: '{name}' holds a number that is not finite, or of another kind.")
    return jax.tree.unflatten(form, [jnp.asarray(tensors[_name(path)]) for path, _ in named])


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
