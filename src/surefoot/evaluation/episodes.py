"""What was measured in each episode, and what a violation is. NumPy only.

This file is the one place that says what counts as a violation; :data:`DEFINITIONS` says it in
words, for tables and pages.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from surefoot.errors import SurefootError
from surefoot.evaluation.statistics import (
    Estimate,
    bootstrap_cvar,
    bootstrap_iqm,
    clopper_pearson,
    mean_bounds,
    rate,
)

DEFINITIONS = {
    "return": "Sum of the rewards of an episode, not discounted. Mean of each seed's episodes, then the "
    "interquartile mean over seeds; interval: bootstrap over seeds and, inside them, episodes.",
    "success": "Share of episodes in which the environment says at some step that the task is solved; "
    "Clopper-Pearson interval over all episodes.",
    "violating_steps_per_episode": "Steps of an episode at which any constraint is violated. A step violates "
    "a constraint if its cost is above zero. Estimated like the return.",
    "violating_episodes": "Share of episodes with at least one violating step, of any constraint; "
    "Clopper-Pearson interval over all episodes.",
    "violating_policies": "Share of seeds whose policy has, for any constraint, a mean cost an episode above "
    "the limit of that constraint; Clopper-Pearson interval over seeds.",
    "cost": "Sum of the costs of an episode, not discounted, one number a constraint. Estimated like the "
    "return.",
    "expected_cost": "The same, but the plain mean over the policies that were trained, which the limit is "
    "about; each end of the interval is a one-sided bound that holds with 95 % (bootstrap-t).",
    "cvar": "Conditional value at risk: mean cost of the worst episodes, a tenth if not said otherwise; mean "
    "over the policies that were trained, bootstrap over their episodes.",
    "training_unsafe_epochs": "Share of the epochs of training whose behaviour policy, with its exploration, "
    "had a mean cost of an episode above a limit; mean over seeds, Student's interval.",
    "training_excess": "How far the mean cost of an episode was above the limit while training, counted as 0 "
    "where it was below: the area above the limit, divided by the steps. Mean over seeds, Student's "
    "interval.",
    "way_left": "Share of the successful episodes that pass the island on the left, seen in the direction of "
    "the goal (below the diagonal of the tray); Clopper-Pearson interval.",
}
"""What each metric means. ``NAME/CONSTRAINT`` is the same for one constraint; ``test_`` in front: from
the test starts; ``greedy_`` in front: with the policy's mode (the most probable action, or the squashed
mean) instead of a sample."""


@dataclass(frozen=True)
class EpisodeTable:
    """Whole episodes of several seeds: exact sums of all, and the paths of the first ``k`` a seed."""

    returns: np.ndarray
    """``[seeds, episodes]`` sum of rewards."""
    lengths: np.ndarray
    """``[seeds, episodes]`` steps, int."""
    success: np.ndarray
    """``[seeds, episodes]`` bool: the environment said at some step that the task is solved."""
    violating_steps_any: np.ndarray
    """``[seeds, episodes]`` steps at which at least one constraint was violated, int."""
    costs: np.ndarray
    """``[seeds, episodes, constraints]`` sum of costs."""
    violating_steps: np.ndarray
    """``[seeds, episodes, constraints]`` steps at which the constraint was violated (cost > 0), int."""
    paths: np.ndarray
    """``[seeds, k, T + 1, obs]`` observations from the first to the last, padded with the last one."""
    path_violations: np.ndarray
    """``[seeds, k, T, constraints]`` bool: step t, from observation t to t + 1, violated the constraint."""

    def __post_init__(self) -> None:
        shape = np.shape(self.returns)
        constraints = np.shape(self.costs)[2:]
        kept = np.shape(self.paths)[1:2]
        expected = {
            "lengths": shape,
            "success": shape,
            "violating_steps_any": shape,
            "costs": (*shape, *constraints),
            "violating_steps": (*shape, *constraints),
            "paths": (*shape[:1], *kept, *np.shape(self.paths)[2:]),
            "path_violations": (*shape[:1], *kept, np.shape(self.paths)[2] - 1, *constraints),
        }
        for name, wanted in expected.items():
            if np.shape(getattr(self, name)) != wanted:
                raise SurefootError(
                    f"EpisodeTable.{name} has shape {list(np.shape(getattr(self, name)))}, "
                    f"expected {list(wanted)}."
                )

    @property
    def seeds(self) -> int:
        return self.returns.shape[0]

    @property
    def episodes(self) -> int:
        """Episodes a seed."""
        return self.returns.shape[1]

    def path(self, seed: int, episode: int) -> tuple[np.ndarray, np.ndarray]:
        """Observations ``[length + 1, obs]`` and violations ``[length, constraints]`` of one episode."""
        length = int(self.lengths[seed, episode])
        return self.paths[seed, episode, : length + 1], self.path_violations[seed, episode, :length]

    def with_paths(self, most: int, numbers: int = 4_000_000) -> EpisodeTable:
        """With the paths of at most ``most`` episodes a seed, and of at most ``numbers`` numbers in all."""
        each = self.seeds * int(np.prod(self.paths.shape[2:]))
        keep = max(1, min(most, numbers // max(each, 1)))
        return replace(self, paths=self.paths[:, :keep], path_violations=self.path_violations[:, :keep])

    def arrays(self, prefix: str = "") -> dict[str, np.ndarray]:
        """Every array by name, for a file."""
        return {prefix + field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], prefix: str = "") -> EpisodeTable:
        """The inverse of :meth:`arrays`; raises ``KeyError`` where one is missing."""
        return cls(**{field.name: np.asarray(arrays[prefix + field.name]) for field in fields(cls)})


def read_tables(path: Any) -> dict[str, EpisodeTable]:
    """The tables of a ``rollouts.npz``, by prefix (``""``, ``"test_"``, ...); never unpickles.

    Raises :class:`SurefootError` if the file is missing, cut short or not of this kind.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            prefixes = [name.removesuffix("returns") for name in file.files if name.endswith("returns")]
            return {prefix: EpisodeTable.from_arrays(file, prefix) for prefix in prefixes}
    except FileNotFoundError:
        raise SurefootError(f"There is no {path}; run `surefoot evaluate` on the run first.") from None
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        IndexError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise SurefootError(f"{path} is damaged ({error}); run `surefoot evaluate` again.") from None


def summarise(
    table: EpisodeTable,
    constraints: tuple[str, ...],
    reports_success: bool,
    prefix: str = "",
    limits: tuple[float, ...] | None = None,
    tail: float = 0.1,
) -> dict[str, Estimate]:
    """Estimates by metric name, see :data:`DEFINITIONS`; ``prefix`` is put in front of each name.

    Without constraints nothing is said of violations. ``limits`` (largest mean cost of an episode,
    one a constraint) adds ``violating_policies``. ``tail`` is the share of episodes that ``cvar`` is about.
    """
    if len(constraints) != table.costs.shape[2]:
        raise SurefootError(
            f"The episodes carry {table.costs.shape[2]} costs, but {len(constraints)} constraints are named."
        )
    metrics = {"return": bootstrap_iqm(table.returns)}
    if reports_success:
        metrics["success"] = rate(table.success)
    if constraints:
        metrics["violating_steps_per_episode"] = bootstrap_iqm(table.violating_steps_any)
        metrics["violating_episodes"] = rate(table.violating_steps_any > 0)
        if limits is not None:
            over = np.any(table.costs.mean(axis=1) > np.asarray(limits), axis=-1)
            metrics["violating_policies"] = rate(over[None])
        for index, name in enumerate(constraints):
            steps = table.violating_steps[..., index]
            metrics[f"violating_steps_per_episode/{name}"] = bootstrap_iqm(steps)
            metrics[f"violating_episodes/{name}"] = rate(steps > 0)
            metrics[f"cost/{name}"] = bootstrap_iqm(table.costs[..., index])
            metrics[f"expected_cost/{name}"] = mean_bounds(table.costs[..., index])
            metrics[f"cvar/{name}"] = bootstrap_cvar(table.costs[..., index], tail)
    return {prefix + name: estimate for name, estimate in metrics.items()}


def side_of(points: np.ndarray, centre: tuple[float, float]) -> float:
    """On which side of the diagonal x = y a path ``[n, 2]`` (px) passes ``centre`` on its way to the goal.

    The path passes the centre where x + y last falls through the centre's value. Returned is x - y
    there, interpolated: negative is left (seen towards the goal, in the top-left corner; y points
    down), positive right. NaN if the path never passes.
    """
    along = points.sum(axis=1) - (centre[0] + centre[1])
    (falls,) = np.nonzero((along[:-1] > 0) & (along[1:] <= 0))
    if not len(falls):
        return math.nan
    before, after = along[falls[-1]], along[falls[-1] + 1]
    share = before / (before - after)
    x, y = points[falls[-1]] + share * (points[falls[-1] + 1] - points[falls[-1]])
    return float(x - y)


def ways(table: EpisodeTable, points: Any, centre: tuple[float, float]) -> np.ndarray:
    """Way of each episode whose path was kept ``[seeds, k]``: -1 left, +1 right, 0 not successful.

    ``points`` turns observations ``[n, obs]`` into positions ``[n, 2]`` (px).
    """
    found = np.zeros(table.paths.shape[:2], int)
    for seed, episode in np.argwhere(table.success[:, : table.paths.shape[1]]).tolist():
        side = side_of(points(table.path(seed, episode)[0]), centre)
        found[seed, episode] = 0 if math.isnan(side) else (1 if side > 0 else -1)
    return found


def way_left(found: np.ndarray) -> Estimate:
    """Share of the successful episodes that went left, see :func:`ways`; exact binomial interval."""
    return clopper_pearson(int(np.sum(found < 0)), int(np.sum(found != 0)))


def collapsed(found: np.ndarray, least: float = 0.1) -> list[int]:
    """Rows (seeds) of ``found`` in which one of the two ways makes up less than ``least``.

    Judged a seed: seeds that each know one way only would hide behind their mean. A row without a
    successful episode does not count.
    """
    rows = []
    for row, each in enumerate(found):
        passed = each[each != 0]
        if len(passed) and min(np.mean(passed < 0), np.mean(passed > 0)) < least:
            rows.append(row)
    return rows
