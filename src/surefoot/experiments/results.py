"""``results/NAME/SCALE/summary.json``: reading, merging and writing; estimates as text; verdicts.

No JAX here, and matplotlib only inside the functions that draw.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surefoot import __version__
from surefoot.errors import SurefootError
from surefoot.evaluation.statistics import RATES, Estimate, bootstrap_iqm
from surefoot.training import run

Record = dict[str, Any]
"""One entry of a summary: a cell with its metrics."""


# Files ----------------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    """The file's content; ``None`` if there is no file or it is not JSON."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def read_summary(path: str | Path) -> list[Record]:
    """The records of a summary; raises :class:`SurefootError` if the file is missing or not a summary."""
    path = Path(path)
    if not path.exists():
        raise SurefootError(f"{path} does not exist; run the experiment first.")
    records = read_json(path)
    if not isinstance(records, list) or not all(
        isinstance(r, dict) and {"method", "setting", "metrics"} <= r.keys() for r in records
    ):
        raise SurefootError(f"{path} is not a summary of an experiment; move it away and run again.")
    return records


def merge(old: Iterable[Record], new: Iterable[Record], order: Sequence[str]) -> list[Record]:
    """Old and new records together, the new ones winning, in the order of the experiment's cells.

    A record whose cell the experiment no longer has (it is not in ``order``) is left out.
    """
    by_cell = {record.get("cell"): record for record in [*old, *new]}
    return [by_cell[name] for name in order if name in by_cell]


def versions() -> dict[str, str]:
    """Versions that the numbers may depend on."""
    return {**run.versions(), "surefoot": __version__}


# Records --------------------------------------------------------------------------------------------


class Records:
    """The records of a summary, to be asked for by setting and method."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.all = list(records)
        self._by_name = {(record["setting"], record["method"]): record for record in self.all}

    def get(self, setting: str, method: str) -> Record | None:
        return self._by_name.get((setting, method))

    def metric(self, setting: str, method: str, name: str) -> Estimate | None:
        """The estimate; ``None`` if the cell is not there, or has no number of that name."""
        return metric(self.get(setting, method), name)

    def group(self, name: str) -> list[Record]:
        return [record for record in self.all if record.get("group") == name]


def metric(record: Record | None, name: str) -> Estimate | None:
    """An estimate of a record; ``None`` if there is no such number."""
    values = (record or {}).get("metrics", {}).get(name)
    if values is None:
        return None
    estimate = Estimate.from_dict(values)
    return estimate if math.isfinite(estimate.estimate) else None


def over_seeds(values: Iterable[float]) -> Estimate | None:
    """Mean over seeds and a bootstrap, of the values that are finite; ``None`` if there are none."""
    known = np.array([value for value in values if np.isfinite(value)])
    return bootstrap_iqm(known[:, None]) if len(known) else None


# Verdicts -------------------------------------------------------------------------------------------


ENOUGH_SEEDS = 3
"""Fewer decide nothing for certain: resampling two numbers gives their range, which covers the mean half the
time and not 95 % of it."""


@dataclass(frozen=True)
class Verdict:
    """Whether something holds, and whether the intervals leave no doubt about it."""

    holds: bool | None
    """``None``: cannot be said, because a number is missing."""
    certain: bool = False

    def __str__(self) -> str:
        if self.holds is None:
            return "not measured"
        return ("met" if self.holds else "not met") + ("" if self.certain else " (intervals leave it open)")

    def __and__(self, other: Verdict) -> Verdict:
        """Both hold. A certain no decides alone; otherwise the less certain of the two counts."""
        for one in (self, other):
            if one.holds is False and one.certain:
                return one
        if self.holds is None or other.holds is None:
            return UNKNOWN
        if self.holds != other.holds:
            return self if not self.holds else other
        return Verdict(self.holds, self.certain and other.certain)

    def among(self, seeds: Iterable[int]) -> Verdict:
        """The same, but certain only if each side has :data:`ENOUGH_SEEDS`."""
        if self.holds is None:
            return UNKNOWN
        return Verdict(self.holds, self.certain and min(seeds) >= ENOUGH_SEEDS)

    def __or__(self, other: Verdict) -> Verdict:
        """At least one holds."""
        return ~(~self & ~other)

    def __invert__(self) -> Verdict:
        return self if self.holds is None else Verdict(not self.holds, self.certain)


UNKNOWN = Verdict(None)


def at_most(value: Estimate | None, bound: Estimate | float | None, factor: float = 1.0) -> Verdict:
    """``value <= factor * bound`` (``factor`` > 0).

    Certain if it holds, or fails, between any two points of the intervals.
    """
    if value is None or bound is None:
        return UNKNOWN
    if not isinstance(bound, Estimate):
        bound = Estimate(bound, bound, bound, 0)
    low, high = factor * bound.lower, factor * bound.upper
    holds = value.estimate <= factor * bound.estimate
    return Verdict(holds, value.upper <= low if holds else value.lower > high)


def at_least(value: Estimate | None, bound: Estimate | float | None, factor: float = 1.0) -> Verdict:
    """``value >= factor * bound``, like :func:`at_most`."""
    if value is None or bound is None:
        return UNKNOWN
    mirrored = _mirror(bound) if isinstance(bound, Estimate) else -bound
    return at_most(_mirror(value), mirrored, factor)


def below(value: Estimate | None, bound: Estimate | None) -> Verdict:
    """``value < bound``: not met if they are equal."""
    return ~at_least(value, bound)


def between(value: Estimate | None, low: float, high: float) -> Verdict:
    """``low <= value <= high``."""
    return at_least(value, low) & at_most(value, high)


def overlap(a: Estimate | None, b: Estimate | None) -> Verdict:
    """The intervals of two numbers have a point in common: no difference can be told, nor ruled out."""
    if a is None or b is None:
        return UNKNOWN
    touch = a.lower <= b.upper and b.lower <= a.upper
    return Verdict(touch, certain=not touch)


def _mirror(value: Estimate) -> Estimate:
    return Estimate(-value.estimate, -value.upper, -value.lower, value.n)


@dataclass(frozen=True)
class Claim:
    """Something that the paper says, or that we expected, and what our numbers say to it."""

    claim: str
    where: str
    """Setting and starts."""
    ours: str
    """The numbers that decide it."""
    verdict: Verdict


def tally(claims: Sequence[Claim]) -> list[tuple[str, int, int, int]]:
    """Rows ``(claim, met, not met, not measured)``: how often, in the order of first appearance."""
    rows: dict[str, list[int]] = {}
    for claim in claims:
        row = rows.setdefault(claim.claim, [0, 0, 0])
        row[2 if claim.verdict.holds is None else 0 if claim.verdict.holds else 1] += 1
    return [(claim, *row) for claim, row in rows.items()]  # type: ignore[misc]


def verdict_lines(claims: Sequence[Claim]) -> list[str]:
    """The tally as lines of text, for the terminal."""
    lines = []
    for claim, met, missed, missing in tally(claims):
        words = f"met in {met} of {met + missed}" if met + missed else "not measured yet"
        rest = f" ({missing} not measured)" if missing and met + missed else ""
        lines.append(f"  {words:<16}  {claim}{rest}")
    return ["Claims:", *lines] if lines else []


# Markdown -------------------------------------------------------------------------------------------


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a ``|`` inside a cell is escaped."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def show(name: str, value: Estimate | None) -> str:
    """An estimate as text, ``-`` if there is none: ``4.76 [4.70, 4.81]``, or in percent if it is a rate. The
    ends only where there are several values."""
    base = name.removeprefix("greedy_").removeprefix("test_").removeprefix("eval_").partition("/")[0]
    return written(value, 1, factor=100.0, unit=" %") if base in RATES else written(value, 2)


def written(value: Estimate | None, places: int, *, factor: float = 1.0, unit: str = "") -> str:
    """``4.76 [4.70, 4.81]``, with the unit behind the first; the ends only where there are several values.

    ``-`` if there is no value.
    """
    if value is None:
        return "-"
    middle, low, high = (f"{factor * x:.{places}f}" for x in (value.estimate, value.lower, value.upper))
    return f"{middle}{unit} [{low}, {high}]" if value.n > 1 else middle + unit
