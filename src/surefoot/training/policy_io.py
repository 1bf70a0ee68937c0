"""Export of policies, and their use without JAX: in a robot's control loop, say.

A policy folder holds ``policy.json`` (what the numbers mean) and ``seed-S.safetensors`` (the network of
each seed: ``weights.0``, ``biases.0``, ...; a Gaussian policy has ``log_std`` as well). Loading and acting
need NumPy and safetensors only, and no optimiser state, replay buffer or training code.

>>> policy = load_policy("runs/demo")                            # doctest: +SKIP
>>> while True:                                                  # doctest: +SKIP
...     action = policy.mode(sensors())
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.errors import SurefootError
from surefoot.training.run import atomic_write

if TYPE_CHECKING:
    from surefoot.networks.policies import (
        BoundedGaussianPolicy,
        CategoricalPolicy,
        GaussianPolicy,
        SquashedGaussianPolicy,
    )
    from surefoot.task import Task

FORMAT = 1
"""Version of the layout of a policy folder."""
KINDS = ("categorical", "gaussian", "squashed-gaussian", "bounded-gaussian")
"""Of policies that can be exported; the classes are in :mod:`surefoot.networks.policies`."""
_WITH_SPREAD = ("gaussian", "bounded-gaussian")
"""Kinds whose spread is an array of its own."""
LOG_STD_RANGE = (-20.0, 2.0)
"""Of a squashed Gaussian, the same as in :mod:`surefoot.networks.policies`."""
AGAIN = "`surefoot resume RUN` exports a run's policies again."
"""What to do about a damaged export."""


# Saving ------------------------------------------------------------------------------------------------


def unwrap(policy: Any) -> Any:
    """The policy to deploy: without the random phase at the start of training."""
    from surefoot.networks.policies import WarmUp

    return policy.policy if isinstance(policy, WarmUp) else policy


def exported(policy: Any) -> Any:
    """The part of a policy that can be used without JAX: of a planner its actor, else all of it."""
    return getattr(policy, "exported", policy)


def kind_of(policy: Any) -> str | None:
    """One of :data:`KINDS`, or ``None`` for a policy that cannot be exported."""
    from surefoot.networks import policies

    classes = (
        policies.CategoricalPolicy,
        policies.GaussianPolicy,
        policies.SquashedGaussianPolicy,
        policies.BoundedGaussianPolicy,
    )
    for kind, cls in zip(KINDS, classes, strict=True):
        if isinstance(policy, cls):
            return kind
    return None


def save_policy(
    path: str | os.PathLike[str],
    policies: Sequence[Any],
    task: Task,
    seeds: Sequence[int],
    *,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Writes one policy a seed into the folder ``path``; ``notes`` are further entries of the JSON file.

    Raises :class:`SurefootError` for a policy of another kind than :data:`KINDS`.
    """
    from safetensors.numpy import save

    folder = Path(path)
    policies = [unwrap(policy) for policy in policies]
    kind = kind_of(policies[0])
    if kind is None:
        raise SurefootError(
            f"A {type(policies[0]).__name__} cannot be exported; a CategoricalPolicy, GaussianPolicy, "
            "SquashedGaussianPolicy or BoundedGaussianPolicy can."
        )
    network = policies[0].network
    for policy, seed in zip(policies, seeds, strict=True):
        tensors = {f"weights.{i}": np.array(w) for i, w in enumerate(policy.network.weights)}
        tensors |= {f"biases.{i}": np.array(b) for i, b in enumerate(policy.network.biases)}
        if kind in _WITH_SPREAD:
            tensors["log_std"] = np.array(policy.log_std)
        atomic_write(folder / f"seed-{seed}.safetensors", save(tensors))
    description = {
        "format": FORMAT,
        "kind": kind,
        "activation": network.activation,
        "sizes": [int(network.weights[0].shape[0]), *(int(b.shape[0]) for b in network.biases)],
        "observation": _space(task.observation),
        "action": _space(task.action),
        "environment": task.name,
        "constraints": list(task.constraints),
        "seeds": [int(seed) for seed in seeds],
        **(notes or {}),
    }
    atomic_write(folder / "policy.json", (json.dumps(description, indent=2) + "\n").encode())


def check_action(policy: DeployedPolicy, task: Task, run: str) -> None:
    """Raises :class:`SurefootError` if the policy of ``run`` acts in another space than that of the task."""
    mine, theirs = policy.description["action"], _space(task.action)
    if (mine.get("n"), mine.get("shape")) != (theirs.get("n"), theirs.get("shape")):
        does, takes = (
            f"{space['n']} discrete actions" if "n" in space else f"{math.prod(space['shape'])} real numbers"
            for space in (mine, theirs)
        )
        raise SurefootError(
            f"The policy of {run} chooses among or gives {does}, but '{task.name}' takes {takes}; play it in "
            "the world that it was trained in."
        )


def _space(space: Any) -> dict[str, Any]:
    if hasattr(space, "n"):
        return {"n": space.n, **({"start": space.start} if space.start else {})}

    def bounds(values: Sequence[float]) -> list[float | None]:
        return [value if math.isfinite(value) else None for value in values]  # JSON knows no infinity

    return {"shape": list(space.shape), "low": bounds(space.low), "high": bounds(space.high)}


# Loading and acting ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeployedPolicy:
    """A trained policy that acts with NumPy alone."""

    kind: str
    """One of :data:`KINDS`."""
    activation: str
    weights: tuple[np.ndarray, ...]
    """Of each layer, ``[in, out]`` float32."""
    biases: tuple[np.ndarray, ...]
    log_std: np.ndarray | None
    """``[act]``, of a Gaussian policy."""
    low: np.ndarray | None
    """Lower bounds of a continuous action, ``[act]``."""
    high: np.ndarray | None
    description: dict[str, Any]
    """What ``policy.json`` says."""
    seed: int
    """Of the training that it comes from."""
    rng: np.random.Generator = field(default_factory=np.random.default_rng, repr=False)
    """Chance of :meth:`act` where none is given; begun by the system, so different in each process."""

    @property
    def start(self) -> int:
        """The environment's number of the first discrete action, which is not 0 everywhere."""
        return int(self.description["action"].get("start", 0))

    def act(self, observation: np.ndarray | Sequence[float], rng: np.random.Generator | None = None) -> Any:
        """A sampled action, as during training: an int of the environment, or floats ``[act]`` within bounds.

        ``rng`` makes the choice repeatable: ``np.random.default_rng(0)``, made once.
        """
        rng = self.rng if rng is None else rng
        outputs = self._outputs(observation)
        if self.kind == "categorical":
            gumbel = rng.gumbel(size=outputs.shape)  # argmax(logits + Gumbel noise) ~ softmax(logits)
            return _whole(np.argmax(outputs + gumbel, axis=-1) + self.start)
        if self.kind == "squashed-gaussian":
            mean, log_std = np.split(outputs, 2, axis=-1)
            noise = rng.standard_normal(mean.shape, dtype=np.float32)
            return self._squash(mean + np.exp(np.clip(log_std, *LOG_STD_RANGE)) * noise)
        assert self.log_std is not None
        outputs = self._squash(outputs) if self.kind == "bounded-gaussian" else outputs
        noise = rng.standard_normal(outputs.shape, dtype=np.float32)
        return self._clip(outputs + np.exp(self.log_std) * noise)

    def mode(self, observation: np.ndarray | Sequence[float]) -> Any:
        """The most probable action: the same at every call."""
        outputs = self._outputs(observation)
        if self.kind == "categorical":
            return _whole(np.argmax(outputs, axis=-1) + self.start)
        if self.kind == "squashed-gaussian":
            return self._squash(np.split(outputs, 2, axis=-1)[0])
        return self._squash(outputs) if self.kind == "bounded-gaussian" else self._clip(outputs)

    def probabilities(self, observation: np.ndarray | Sequence[float]) -> np.ndarray:
        """Of each discrete action, ``[actions]``; raises :class:`SurefootError` for continuous ones."""
        if self.kind != "categorical":
            raise SurefootError("A policy with continuous actions has no probabilities; use act or mode.")
        outputs = self._outputs(observation)
        powers = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def _outputs(self, observation: np.ndarray | Sequence[float]) -> np.ndarray:
        x = np.asarray(observation, np.float32)
        size = self.weights[0].shape[0]
        if x.ndim == 0 or x.shape[-1] != size:
            raise SurefootError(
                f"The policy takes observations of {size} numbers, not of shape {list(x.shape)}; where the "
                "environment observes an integer, give a vector with a 1 at its place and 0 elsewhere."
            )
        if not np.isfinite(x).all():
            raise SurefootError(
                "The observation holds a number that is not finite; no action can be trusted."
            )
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = x @ weight + bias
            x = np.maximum(x, 0) if self.activation == "relu" else np.tanh(x)
        return x @ self.weights[-1] + self.biases[-1]

    def _squash(self, u: np.ndarray) -> np.ndarray:
        assert self.low is not None and self.high is not None
        return (self.low + self.high) / 2 + (self.high - self.low) / 2 * np.tanh(u)

    def _clip(self, action: np.ndarray) -> np.ndarray:
        return np.clip(action, self.low, self.high)


def load_policy(path: str | os.PathLike[str], seed: int | None = None) -> DeployedPolicy:
    """The policy of one seed (the first one unless told) from a policy folder or a run folder.

    Raises :class:`SurefootError` if there is none, or if it is damaged or of another version.
    """
    folder = Path(path)
    if not (folder / "policy.json").exists() and (folder / "policy" / "policy.json").exists():
        folder = folder / "policy"
    description = _description(folder)
    seeds = description["seeds"]
    if seed is not None and seed not in seeds:
        raise SurefootError(f"{folder} holds no policy of seed {seed}; it has {', '.join(map(str, seeds))}.")
    seed = int(seeds[0] if seed is None else seed)
    tensors = _tensors(folder / f"seed-{seed}.safetensors", description)
    layers = len(description["sizes"]) - 1
    action = description["action"]
    continuous = description["kind"] != "categorical"
    return DeployedPolicy(
        kind=description["kind"],
        activation=description["activation"],
        weights=tuple(tensors[f"weights.{i}"] for i in range(layers)),
        biases=tuple(tensors[f"biases.{i}"] for i in range(layers)),
        log_std=tensors.get("log_std"),
        low=_bounds(action["low"], -np.inf) if continuous else None,
        high=_bounds(action["high"], np.inf) if continuous else None,
        description=description,
        seed=seed,
    )


def readable(path: str | os.PathLike[str], seeds: Sequence[int]) -> bool:
    """Whether the policies of these seeds are there and whole."""
    try:
        for seed in seeds:
            load_policy(path, seed)
    except SurefootError:
        return False
    return True


def revive(
    policy: DeployedPolicy,
) -> CategoricalPolicy | GaussianPolicy | SquashedGaussianPolicy | BoundedGaussianPolicy:
    """The policy that was exported, as JAX knows it; imports JAX."""
    import jax
    import jax.numpy as jnp

    from surefoot.networks.mlp import Mlp
    from surefoot.networks.policies import (
        BoundedGaussianPolicy,
        CategoricalPolicy,
        GaussianPolicy,
        SquashedGaussianPolicy,
    )

    weights, biases = jax.tree.map(jnp.asarray, (policy.weights, policy.biases))
    network = Mlp(weights, biases, "tanh" if policy.activation == "tanh" else "relu")
    if policy.kind == "categorical":
        return CategoricalPolicy(network)
    if policy.kind == "gaussian":
        return GaussianPolicy(network, jnp.asarray(policy.log_std))
    assert policy.low is not None and policy.high is not None
    low, high = tuple(policy.low.tolist()), tuple(policy.high.tolist())
    if policy.kind == "bounded-gaussian":
        return BoundedGaussianPolicy(network, jnp.asarray(policy.log_std), low, high)
    return SquashedGaussianPolicy(network, low, high)


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "policy.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SurefootError(
            f"{folder} holds no policy (policy.json is missing); give a run folder or its policy folder."
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SurefootError(f"{path} is damaged ({error}); {AGAIN}") from error
    found = description.get("format") if isinstance(description, dict) else None
    if found != FORMAT:
        raise SurefootError(
            f"{path} has format {found}, but this version of surefoot reads format {FORMAT}; "
            "export the policy again with this version."
        )
    sound = (
        description.get("kind") in KINDS
        and description.get("activation") in ("relu", "tanh")
        and isinstance(description.get("sizes"), list)
        and len(description["sizes"]) >= 2
        and description.get("seeds")
        and isinstance(description.get("action"), dict)
        and (
            description["kind"] == "categorical"
            or all(isinstance(description["action"].get(bound), list) for bound in ("low", "high"))
        )
    )
    if not sound:
        raise SurefootError(f"{path} does not describe a policy that is known here; export it again.")
    return description


def _tensors(path: Path, description: Mapping[str, Any]) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(path.read_bytes())
    except FileNotFoundError as error:
        raise SurefootError(f"{path} is missing; {AGAIN}") from error
    except (OSError, SafetensorError) as error:
        raise SurefootError(f"{path} is cut short or damaged ({error}); {AGAIN}") from error
    sizes = description["sizes"]
    expected = {f"weights.{i}": (a, b) for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))}
    expected |= {f"biases.{i}": (b,) for i, b in enumerate(sizes[1:])}
    if description["kind"] in _WITH_SPREAD:
        expected["log_std"] = (sizes[-1],)
    for name, shape in expected.items():
        if name not in tensors or tensors[name].shape != shape:
            raise SurefootError(f"{path} does not fit policy.json: '{name}' should have shape {list(shape)}.")
        if not np.isfinite(tensors[name]).all():
            raise SurefootError(f"{path}: '{name}' holds a number that is not finite; train again.")
    return tensors


def _bounds(values: Sequence[float | None], missing: float) -> np.ndarray:
    return np.array([missing if value is None else value for value in values], np.float32)


def _whole(index: np.ndarray | np.integer[Any]) -> Any:
    """A plain int for one observation, an array for many."""
    return int(index) if np.ndim(index) == 0 else index
