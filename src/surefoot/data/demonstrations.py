"""Demonstrations: whole episodes of an expert, with their costs. NumPy only.

    demos = load("marble-maze/zone+speed")     # or a folder, or the id of a Minari set
    demos.check(world.task)
    few = demos.slice(range(10))
    save(mix(demos, load("./mine"), shares=(0.5, 0.5)), "both")

On disk a set is a Minari folder (see ``_minari.py``), so the Minari library reads it too.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.data import _minari, _npz
from surefoot.errors import SurefootError, unknown
from surefoot.task import Discrete, Task

BUNDLED = Path(__file__).parent / "bundled"
"""Where the sets that come with the package lie."""
store = _minari.store
stored = _minari.stored
check_place = _minari.check_place
_ROWS = ("observations", "actions", "rewards", "costs", "terminations", "truncations")
_ARRAYS = (*_ROWS, "lengths", "final_observations")
_ABOUT_ENVIRONMENT = ("environment", "env_spec", "spaces")
_SAME = "use demonstrations of the same environment, wrapped in the same way"

Indices = slice | Sequence[int] | np.ndarray
"""Which episodes: a slice, their numbers, or a mask ``[episodes]``."""


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Episodes, all steps one after the other; the arrays cannot be written to."""

    observations: np.ndarray
    """``[steps, obs]`` float32: what the expert saw."""
    actions: np.ndarray
    """What it did: ``[steps]`` int32, or ``[steps, act]`` float32."""
    rewards: np.ndarray
    """``[steps]`` float32."""
    costs: np.ndarray
    """``[steps, constraints]`` float32; no columns if costs are unknown."""
    terminations: np.ndarray
    """``[steps]`` bool: the episode ended here by the problem's own rule."""
    truncations: np.ndarray
    """``[steps]`` bool: the episode was cut here, by a time limit say."""
    lengths: np.ndarray
    """``[episodes]`` int64: steps of each episode, at least 1."""
    final_observations: np.ndarray
    """``[episodes, obs]`` float32: what was seen after the last step."""
    constraints: tuple[str, ...] = ()
    """Name of each cost column."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Where the set comes from: environment id and options, command, seed, share dropped, versions."""
    name: str = ""

    def __post_init__(self) -> None:
        # By the shape, which a file keeps: whole numbers in [steps, act] are real actions too.
        actions = np.asarray(self.actions)
        action_type = np.int32 if actions.ndim == 1 else np.float32
        if actions.ndim == 1 and actions.dtype.kind == "f" and not np.array_equal(actions, np.round(actions)):
            raise SurefootError(
                f"{self._label} has actions [steps] that are not whole numbers; "
                "give real actions as [steps, act], actions[:, None] here."
            )
        if actions.ndim == 1 and actions.size and max(abs(int(actions.min())), int(actions.max())) >= 2**31:
            raise SurefootError(
                f"{self._label} has actions from {actions.min()} to {actions.max()}; the number of an action "
                "must be below 2^31."
            )
        types = {"actions": action_type, "terminations": np.bool_, "truncations": np.bool_}
        types["lengths"] = np.int64
        for key in _ARRAYS:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and check() says so
                view = np.asarray(getattr(self, key)).astype(types.get(key, np.float32), copy=False).view()
            view.flags.writeable = False
            object.__setattr__(self, key, view)
        object.__setattr__(self, "constraints", tuple(self.constraints))
        self._check_shapes()

    def _check_shapes(self) -> None:
        if self.observations.ndim != 2 or self.actions.ndim not in (1, 2) or self.lengths.ndim != 1:
            raise SurefootError(
                f"{self._label} needs observations [steps, obs], actions [steps] or [steps, act] and lengths "
                f"[episodes], got {self.observations.shape}, {self.actions.shape} and {self.lengths.shape}."
            )
        if len(self.lengths) and self.lengths.min() < 1:
            raise SurefootError(f"{self._label} has an episode without steps; leave it out.")
        steps = int(self.lengths.sum())
        shapes = {
            "observations": (steps, self.observations.shape[1]),
            "actions": (steps, *self.actions.shape[1:]),
            "rewards": (steps,),
            "costs": (steps, len(self.constraints)),
            "terminations": (steps,),
            "truncations": (steps,),
            "final_observations": (self.episodes, self.observations.shape[1]),
        }
        for key, shape in shapes.items():
            if getattr(self, key).shape != shape:
                raise SurefootError(
                    f"{self._label}: {key} has shape {getattr(self, key).shape}, but {self.episodes} "
                    f"episodes of {steps} steps in all with {len(self.constraints)} constraints need {shape}."
                )

    @property
    def _label(self) -> str:
        return f"The set '{self.name}'" if self.name else "The set of demonstrations"

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.lengths)

    @property
    def steps(self) -> int:
        """Number of steps of all episodes together."""
        return len(self.rewards)

    @property
    def offsets(self) -> np.ndarray:
        """``[episodes + 1]``: episode i is rows ``offsets[i] : offsets[i + 1]``."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    @property
    def returns(self) -> np.ndarray:
        """``[episodes]``: undiscounted sum of the rewards of each episode."""
        return self._sums(self.rewards)

    @property
    def violating_steps(self) -> np.ndarray:
        """``[episodes, constraints]``: steps with cost > 0."""
        return self._sums(self.costs > 0)

    @property
    def any_violating_steps(self) -> np.ndarray:
        """``[episodes]``: steps at which at least one cost is above 0."""
        return self._sums(np.max(self.costs, axis=1, initial=0) > 0)

    def _sums(self, values: np.ndarray) -> np.ndarray:
        if not self.episodes:
            return np.zeros((0, *values.shape[1:]))
        return np.add.reduceat(values.astype(np.float64), self.offsets[:-1], axis=0)

    def episode(self, index: int) -> dict[str, np.ndarray]:
        """The arrays of one episode; ``observations`` has one row more, seen after the last step."""
        if not -self.episodes <= index < self.episodes:
            raise SurefootError(f"{self._label} has {self.episodes} episodes; there is no episode {index}.")
        index %= self.episodes
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        arrays = {key: getattr(self, key)[rows] for key in _ROWS}
        last = self.final_observations[index : index + 1]
        return {**arrays, "observations": np.concatenate([arrays["observations"], last])}

    def slice(self, indices: Indices) -> Demonstrations:
        """A set of the chosen episodes, in the order given."""
        everything = np.arange(self.episodes)
        try:
            if isinstance(indices, slice):
                chosen = everything[indices]
            else:
                numbers = np.asarray(indices)
                chosen = everything[numbers if numbers.size else numbers.astype(np.int64)]
        except IndexError as error:
            raise SurefootError(f"{self._label} has {self.episodes} episodes: {error}.") from error
        offsets = self.offsets.tolist()
        rows = [np.arange(offsets[i], offsets[i + 1]) for i in chosen.tolist()]
        steps = np.concatenate([np.zeros(0, np.int64), *rows])
        arrays = {key: getattr(self, key)[steps] for key in _ROWS}
        return replace(
            self,
            **arrays,
            lengths=self.lengths[chosen],
            final_observations=self.final_observations[chosen],
        )

    def padded(self, horizon: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Observations, actions and a mask, each ``[episodes, time, ...]``.

        ``horizon`` is the length of the time axis, by default that of the longest episode; longer
        episodes are cut, shorter ones are filled with zeros, where ``valid`` is false.
        """
        time = int(self.lengths.max(initial=0)) if horizon is None else horizon
        valid = np.arange(time)[None, :] < self.lengths[:, None]
        inside = np.concatenate([np.arange(n) < time for n in self.lengths] or [np.zeros(0, bool)])
        observations = np.zeros((self.episodes, time, self.observations.shape[1]), np.float32)
        actions = np.zeros((self.episodes, time, *self.actions.shape[1:]), self.actions.dtype)
        observations[valid] = self.observations[inside]
        actions[valid] = self.actions[inside]
        return observations, actions, valid

    def digest(self) -> str:
        """SHA-256 of all arrays and the constraint names, in hexadecimal; metadata does not count."""
        hasher = hashlib.sha256(repr(self.constraints).encode())
        for key in _ARRAYS:
            array = getattr(self, key)
            hasher.update(f"{key}{array.shape}{array.dtype.str}".encode())
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.hexdigest()

    def check(self, task: Task, options: Mapping[str, Any] | None = None) -> None:
        """Raises :class:`SurefootError` unless a learner of ``task`` can learn from this set.

        ``options`` are those of the world's environment, if known: the ones that the set names as
        decisive (the board of a maze, say) must then agree.
        """
        self._check_environment(task, options or {})
        if not self.episodes:
            raise SurefootError(f"{self._label} holds no episodes; collect or import some first.")
        if self.observations.shape[1] != task.observation.size:
            raise SurefootError(
                f"{self._label} has observations of {self.observations.shape[1]} numbers, but '{task.name}' "
                f"gives {task.observation.size}; {_SAME}."
            )
        self._check_actions(task)
        for key in ("observations", "actions", "rewards", "costs", "final_observations"):
            self._check_finite(key)

    def _check_environment(self, task: Task, options: Mapping[str, Any]) -> None:
        made_for = self.metadata.get("environment") or {}
        name = str(made_for.get("id"))
        # A world made by somebody's own function is named after it, which says nothing of what it makes.
        if _is_id(name) and _is_id(task.name) and _bare(name) != _bare(task.name):
            raise SurefootError(
                f"{self._label} was made for '{name}', not for '{task.name}'; "
                f"load a set of '{task.name}' or train on '{name}'."
            )
        for option in made_for.get("decisive", ()):
            theirs = made_for.get("options", {}).get(option)
            if option in options and options[option] != theirs:
                raise SurefootError(
                    f"{self._label} was made with {option} = {theirs!r}, but this world has {option} = "
                    f"{options[option]!r}; make both the same."
                )

    def _check_actions(self, task: Task) -> None:
        discrete = self.actions.ndim == 1
        if isinstance(task.action, Discrete):
            if not discrete:
                raise SurefootError(
                    f"{self._label} has actions of {self.actions.shape[1]} real numbers, "
                    f"but '{task.name}' takes one of {task.action.n} discrete actions."
                )
            low, high = np.zeros(1), np.full(1, task.action.n - 1)
        else:
            if discrete or self.actions.shape[1] != task.action.size:
                given = "one discrete number" if discrete else f"{self.actions.shape[1]} numbers"
                raise SurefootError(
                    f"{self._label} has actions of {given}, but '{task.name}' takes {task.action.size} real "
                    f"ones; {_SAME}."
                )
            # A float32 action at a bound may have been rounded over it.
            low, high = (np.asarray(bound, np.float64) for bound in (task.action.low, task.action.high))
            slack = 1e-5 * (1 + np.abs(np.where(np.isfinite(high - low), high - low, 0.0)))
            low, high = low - slack, high + slack
        values = self.actions.reshape(self.steps, len(low))
        wrong = np.argwhere((values < low) | (values > high))
        if len(wrong):
            step, entry = wrong[0].tolist()
            bounds = f"{float(low[entry]):.4g} to {float(high[entry]):.4g}"
            raise SurefootError(
                f"{self._label} has {len(np.unique(wrong[:, 0]))} actions out of range, the first is "
                f"{values[step, entry]:g} at {self._place(step)}; '{task.name}' takes {bounds}. "
                "Rescale them or leave the episodes out."
            )

    def _check_finite(self, key: str) -> None:
        values = getattr(self, key)
        rows = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1)).tolist()
        if len(rows):
            place = f"the end of episode {rows[0]}" if key.startswith("final") else self._place(rows[0])
            raise SurefootError(
                f"{self._label} has {len(rows)} {key} that are not finite (NaN or infinite), the first at "
                f"{place}; leave that episode out with slice()."
            )

    def _place(self, step: int) -> str:
        episode = int(np.searchsorted(self.offsets, step, side="right")) - 1
        return f"step {int(step - self.offsets[episode])} of episode {episode}"


def _is_id(name: str) -> bool:
    """Whether this is the id of a registered environment, such as ``CartPole-v1``."""
    return not name.startswith("python:") and re.search(r"-v\d+$", name) is not None


def _bare(name: str) -> str:
    """An environment's name without where it is registered."""
    return name.removeprefix("gymnasium:").removeprefix("surefoot/")


# Sets as a whole -------------------------------------------------------------------------------


def mix(*demos: Demonstrations, shares: Sequence[float | int] | None = None, seed: int = 0) -> Demonstrations:
    """One set out of several of the same environment.

    Without ``shares`` all episodes of each, one set after the other. With ``shares`` (one a set,
    scaled to sum to 1) the largest set in which each has its share of the episodes; they are
    drawn without replacement and put in random order by ``seed``.
    """
    if not demos:
        raise SurefootError("mix() needs at least one set of demonstrations.")
    first = demos[0]
    for other in demos[1:]:
        _check_alike(first, other)
    rng = np.random.default_rng(seed)
    counts = [d.episodes for d in demos] if shares is None else _counts([d.episodes for d in demos], shares)
    parts = [
        d if n == d.episodes else d.slice(np.sort(rng.choice(d.episodes, n, replace=False)))
        for d, n in zip(demos, counts, strict=True)
    ]
    recipe = [
        {"name": d.name, "digest": d.digest(), "episodes": n} for d, n in zip(demos, counts, strict=True)
    ]
    joined = replace(
        first,
        **{key: np.concatenate([getattr(part, key) for part in parts]) for key in _ARRAYS},
        metadata={
            **{key: value for key, value in first.metadata.items() if key in _ABOUT_ENVIRONMENT},
            "mixed": recipe,
            "seed": seed,
        },
        name=" and ".join(d.name or "unnamed" for d in demos),
    )
    return joined if shares is None else joined.slice(rng.permutation(joined.episodes))


def _counts(available: list[int], shares: Sequence[float | int]) -> list[int]:
    """Episodes of each set: the largest total with these shares."""
    weights = np.asarray(shares, float)
    if len(weights) != len(available) or not np.all(weights >= 0) or not weights.sum() > 0:
        raise SurefootError(
            f"shares = {tuple(shares)}: give {len(available)} numbers >= 0, one a set, not all 0."
        )
    weights = (weights / weights.sum()).tolist()
    total = min(n / w for n, w in zip(available, weights, strict=True) if w > 0)
    return [min(round(total * w), n) for n, w in zip(available, weights, strict=True)]


def _check_alike(first: Demonstrations, other: Demonstrations) -> None:
    def about(demos: Demonstrations) -> dict[str, Any]:
        environment = demos.metadata.get("environment") or {}
        options = environment.get("options", {})
        return {
            "observation size": demos.observations.shape[1],
            "action shape": demos.actions.shape[1:],
            "action type": demos.actions.dtype.name,
            "constraints": demos.constraints,
            "environment": _bare(environment.get("id") or ""),
            **{option: options.get(option) for option in environment.get("decisive", ())},
        }

    ours, theirs = about(first), about(other)
    for key, value in ours.items():
        if theirs.get(key, value) != value and (key != "environment" or (value and theirs[key])):
            raise SurefootError(
                f"'{first.name}' and '{other.name}' cannot be mixed: {key} is {value} in one and "
                f"{theirs[key]} in the other."
            )


def describe(demos: Demonstrations) -> dict[str, Any]:
    """Counts, lengths, returns, violations and actions of a set as plain JSON values."""

    def spread(values: np.ndarray) -> dict[str, Any] | None:
        if not len(values):
            return None
        return {"min": float(values.min()), "mean": float(values.mean()), "max": float(values.max())}

    def violations(steps: np.ndarray) -> dict[str, Any]:
        return {
            "violating_steps": int(steps.sum()),
            "violating_steps_per_episode": float(steps.mean()) if len(steps) else 0.0,
            "violating_episodes": int((steps > 0).sum()),
        }

    ends = demos.offsets[1:] - 1
    return {
        "name": demos.name,
        "environment": demos.metadata.get("environment"),
        "episodes": demos.episodes,
        "steps": demos.steps,
        "observation_size": demos.observations.shape[1],
        "lengths": spread(demos.lengths),
        "returns": spread(demos.returns),
        "terminated": int(demos.terminations[ends].sum()),
        "truncated": int(demos.truncations[ends].sum()),
        "constraints": list(demos.constraints),
        "violations": {
            **({"any": violations(demos.any_violating_steps)} if demos.constraints else {}),
            **{n: violations(demos.violating_steps[:, i]) for i, n in enumerate(demos.constraints)},
        },
        "actions": _describe_actions(demos),
        "digest": demos.digest(),
    }


def _describe_actions(demos: Demonstrations) -> dict[str, Any]:
    if demos.actions.ndim == 2:
        columns = demos.actions.astype(np.float64)
        rows = {"low": columns.min, "mean": columns.mean, "high": columns.max} if demos.steps else {}
        return {"kind": "continuous", "size": columns.shape[1]} | {
            key: function(axis=0).tolist() for key, function in rows.items()
        }
    space = demos.metadata.get("spaces", {}).get("action", {})
    n = max(int(space.get("n", 0)), int(demos.actions.max(initial=-1)) + 1)
    counts = np.bincount(np.maximum(demos.actions, 0), minlength=n)
    return {"kind": "discrete", "n": n, "counts": counts.tolist()}


# Disk ------------------------------------------------------------------------------------------


def bundled() -> list[str]:
    """Names of the sets that come with the package."""
    return sorted(str(f.parent.relative_to(BUNDLED).as_posix()) for f in BUNDLED.rglob(_minari.METADATA))


def summary(name: str) -> dict[str, Any]:
    """What :func:`describe` said of a bundled set when it was saved, its ``metadata`` and ``bytes`` on disk.

    Quicker than loading it: only the JSON is read.
    """
    folder = BUNDLED / name
    ours = _minari.read_metadata(folder)["surefoot"]
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {**ours["summary"], "metadata": ours["metadata"], "bytes": size}


def load(name_or_path: str | os.PathLike[str]) -> Demonstrations:
    """A bundled set by name (``marble-maze/zone`` or ``zone``), a folder, an ``.npz`` file, or a Minari id.

    Raises :class:`SurefootError` with the nearest name if there is none, or if the files are damaged.
    """
    name = os.fspath(name_or_path)
    known = bundled()
    matches = [full for full in known if name == full or name == full.partition("/")[2]]
    if isinstance(name_or_path, str) and matches:
        if name != matches[0] and Path(name).exists():
            raise SurefootError(
                f"'{name}' is a bundled set and also a folder here; write '{matches[0]}' or './{name}'."
            )
        return Demonstrations(**_minari.read(BUNDLED / matches[0]))
    for path in (Path(name).expanduser(), _minari.store() / name):
        folder = _minari.find(path)
        if folder is not None:
            demos = Demonstrations(**_minari.read(folder))
            return demos if demos.name else replace(demos, name=path.resolve().name)
    if Path(name).is_file() and Path(name).suffix.lower() == ".npz":
        return Demonstrations(**_npz.read(Path(name)))
    if Path(name).exists():
        raise SurefootError(
            f"'{name}' is no set of demonstrations: it is neither a Minari folder (which has a "
            f"{_minari.METADATA}) nor an .npz file; docs/demonstrations.md tells the format."
        )
    if not isinstance(name_or_path, str) or name.startswith((".", "/", "~")):
        raise SurefootError(f"There is no folder or file '{name}'. See `surefoot demos list` for names.")
    names = known if "/" in name else [full.partition("/")[2] for full in known]
    raise unknown("demonstrations", name, names + _minari.stored(), "See `surefoot demos list`.")


def save(
    demos: Demonstrations,
    path: str | os.PathLike[str],
    *,
    task: Task | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a Minari folder, whole or not at all.

    ``task`` gives the bounds of the spaces; without it those that the set was loaded or collected
    with are kept, and else unbounded ones are written. ``overwrite`` replaces an earlier set.
    """
    own = {key: value for key, value in demos.metadata.items() if key not in ("spaces", "env_spec")}
    spaces = _spaces(demos, task)
    metadata: dict[str, Any] = {
        "dataset_id": _minari_id(demos.name or Path(path).resolve().name),
        "total_episodes": demos.episodes,
        "total_steps": demos.steps,
        "data_format": "hdf5",
        "jpeg_encoding": True,
        "minari_version": _minari.MINARI_VERSION,
        **{f"{key}_space": _minari.to_json(space) for key, space in spaces.items()},
    }
    if demos.metadata.get("env_spec"):
        metadata["env_spec"] = demos.metadata["env_spec"]
    for key, theirs in (("algorithm", "algorithm_name"), ("description", "description")):
        if isinstance(own.get(key), str):
            metadata[theirs] = own[key]
    metadata["surefoot"] = {
        "format": 1,
        "name": demos.name,
        "constraints": list(demos.constraints),
        "summary": describe(demos),
        "metadata": own,
    }
    episodes = [demos.episode(index) for index in range(demos.episodes)]
    if demos.actions.ndim == 1:  # Minari's discrete actions are int64
        episodes = [{**episode, "actions": episode["actions"].astype(np.int64)} for episode in episodes]
    _minari.write(Path(path), episodes, metadata, overwrite=overwrite)


def spaces_of(task: Task) -> dict[str, Any]:
    """Observation and action space of a task in Minari's JSON form."""
    box = task.observation
    action = task.action
    return {
        "observation": _minari.box_space((box.size,), box.low, box.high),
        "action": _minari.discrete_space(action.n)
        if isinstance(action, Discrete)
        else _minari.box_space((action.size,), action.low, action.high),
    }


def _spaces(demos: Demonstrations, task: Task | None) -> dict[str, Any]:
    if task is not None:
        return spaces_of(task)
    if "spaces" in demos.metadata:
        return demos.metadata["spaces"]
    if demos.actions.ndim == 1:
        action = _minari.discrete_space(int(demos.actions.max(initial=0)) + 1)
    else:
        action = _minari.box_space(demos.actions.shape[1:])
    return {"observation": _minari.box_space(demos.observations.shape[1:]), "action": action}


def _minari_id(name: str) -> str:
    """A name that Minari accepts: letters, digits, dashes and slashes, with a version."""
    clean = re.sub(r"[^-\w/]+", "-", name.replace("+", "-")).strip("-/") or "demonstrations"
    versioned = clean if re.search(r"-v\d+$", clean) else f"{clean}-v0"
    return versioned if "/" in versioned else f"surefoot/{versioned}"
