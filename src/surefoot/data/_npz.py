"""Demonstrations from plain arrays in an ``.npz`` file, for data that somebody's own program wrote."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.errors import SurefootError, unknown

REQUIRED = {
    "observations": "[steps, obs], all episodes one after the other",
    "actions": "[steps] whole numbers from 0, or [steps, act] real numbers",
}
OPTIONAL = {
    "lengths": "[episodes], steps of each episode; else terminations or truncations mark the ends",
    "rewards": "[steps]; zero if left out",
    "costs": "[steps, constraints]; unknown if left out",
    "constraints": "a name for each column of costs",
    "terminations": "[steps], true where the problem's own rule ended the episode",
    "truncations": "[steps], true where the episode was cut",
    "final_observations": "[episodes, obs] after the last steps; the last observation again if left out",
}


def read(path: Path) -> dict[str, Any]:
    """Keyword arguments of ``Demonstrations``; raises :class:`SurefootError` if the file does not fit."""
    arrays = _arrays(path)
    for key in arrays:
        if key not in REQUIRED | OPTIONAL:
            raise unknown(f"array in '{path}'", key, REQUIRED | OPTIONAL)
    for key, meaning in REQUIRED.items():
        if key not in arrays:
            raise SurefootError(f"'{path}' has no array '{key}' ({meaning}).")
    for key, array in arrays.items():
        if key != "constraints" and array.dtype.kind not in "biuf":
            raise SurefootError(f"The array '{key}' of '{path}' holds {array.dtype}, not numbers.")
    observations, actions = arrays["observations"], arrays["actions"]
    if observations.ndim != 2 or actions.ndim not in (1, 2) or len(observations) != len(actions):
        raise SurefootError(
            f"'{path}' has observations {observations.shape} and actions {actions.shape}; "
            f"give {REQUIRED['observations']}, and as many actions."
        )
    steps = len(actions)
    if not steps:
        raise SurefootError(f"'{path}' holds no steps; save at least one episode.")
    terminations, truncations = (
        np.asarray(arrays.get(key, np.zeros(steps)), bool).reshape(-1)
        for key in ("terminations", "truncations")
    )
    if len(terminations) != steps or len(truncations) != steps:
        raise SurefootError(
            f"'{path}' has {steps} steps, but {len(terminations)} terminations "
            f"and {len(truncations)} truncations."
        )
    lengths = _lengths(arrays, terminations | truncations, path)
    ends = np.cumsum(lengths) - 1
    truncations = truncations.copy()
    truncations[ends] |= ~terminations[ends]  # a recording that just stops was cut
    costs = np.atleast_1d(arrays.get("costs", np.zeros((steps, 0))))
    if not len(costs):
        raise SurefootError(
            f"'{path}' has {steps} steps, but no costs; leave the array out if they are unknown."
        )
    costs = costs.reshape(len(costs), -1)
    width = costs.shape[1]
    default = np.array(["cost"] if width == 1 else [f"cost_{i}" for i in range(width)], str)
    names = tuple(str(name) for name in np.atleast_1d(arrays.get("constraints", default)))
    return {
        "observations": observations,
        "actions": _whole(actions),
        "rewards": arrays.get("rewards", np.zeros(steps)).reshape(-1),
        "costs": costs,
        "terminations": terminations,
        "truncations": truncations,
        "lengths": lengths,
        "final_observations": arrays.get("final_observations", observations[ends]),
        "constraints": names,
        "metadata": {
            "imported": path.name,
            "left_out": [key for key in ("rewards", "costs", "final_observations") if key not in arrays],
        },
        "name": path.stem,
    }


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as handle:  # NumPy leaves a damaged file open
            file = np.load(handle, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise SurefootError(f"'{path}' holds one array; use np.savez with {', '.join(REQUIRED)}.")
            return {key: file[key] for key in file.files}
    except SurefootError:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())[:120]
        if "allow_pickle" in reason:
            reason = "it holds Python objects, which are never unpickled; save plain arrays"
        raise SurefootError(f"Cannot read '{path}': {reason}.") from error


def _lengths(arrays: dict[str, np.ndarray], ends: np.ndarray, path: Path) -> np.ndarray:
    steps = len(ends)
    if "lengths" in arrays:
        lengths = arrays["lengths"].reshape(-1).astype(np.int64)
        if lengths.sum() != steps or (len(lengths) and lengths.min() < 1):
            raise SurefootError(
                f"'{path}': the lengths of {len(lengths)} episodes add up to {lengths.sum()}, but there are "
                f"{steps} steps; each must be at least 1."
            )
        return lengths
    if steps and not ends.any():
        raise SurefootError(f"'{path}' does not say where episodes end; add an array 'lengths'.")
    marks = np.flatnonzero(ends)
    if steps and marks[-1] != steps - 1:
        marks = np.append(marks, steps - 1)
    return np.diff(marks, prepend=-1).astype(np.int64)


def _whole(actions: np.ndarray) -> np.ndarray:
    """Discrete actions that were saved as real numbers become integers."""
    if actions.ndim == 1 and actions.dtype.kind == "f" and np.array_equal(actions, np.round(actions)):
        return actions.astype(np.int64)
    return actions[:, None] if actions.ndim == 1 and actions.dtype.kind == "f" else actions
