"""The page of the recovery steps. All of it comes from ``summary.json``; no sentence about a result is
written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from surefoot.evaluation.statistics import Estimate, bootstrap_iqm
from surefoot.experiments import figures, pages
from surefoot.experiments.lbpo_backtracks import EXPERIMENT, METHODS, UPDATES, WALK
from surefoot.experiments.lbpo_benchmark import START, TASKS, setting
from surefoot.experiments.results import (
    Claim,
    Record,
    Records,
    Verdict,
    at_least,
    at_most,
    below,
    markdown_table,
    written,
)
from surefoot.experiments.training_metrics import UNSAFE, Curve

FACTOR = 0.5
"""From this share of BACKTRACK's recoveries on a method is said to have about as many."""


class Counts:
    """Recovery steps of each method in each place: the noisy walk, or a task with all its seeds."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.all = list(records)
        self._table = Records(self.all)
        self._seeds = 1 + max((r["seeds"][-1] for r in self.all if r["setting"] != WALK), default=-1)

    def places(self) -> list[str]:
        """Those with a record."""
        return [place for place in (WALK, *TASKS) if any(self.of(place, method) for method in METHODS)]

    def of(self, place: str, method: str) -> list[Record]:
        names = [WALK] if place == WALK else [setting(place, seed) for seed in range(self._seeds)]
        return [record for name in names if (record := self._table.get(name, method)) is not None]

    def curve(self, place: str, method: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Updates ``[points]``, and recovery steps up to there ``[seeds, points]``."""
        read = [counted(record) for record in self.of(place, method)]
        return (read[0][0], np.concatenate([values for _, values in read])) if read else None

    def updates(self, place: str) -> int:
        """Up to which all of its methods can be compared, at most ``UPDATES``."""
        found = [curve[0][-1] for m in METHODS if (curve := self.curve(place, m)) is not None]
        return int(min([UPDATES, *found]))

    def total(self, place: str, method: str) -> Estimate | None:
        """After :meth:`updates`."""
        curve = self.curve(place, method)
        if curve is None:
            return None
        after = self.updates(place)
        return bootstrap_iqm(np.array([[np.interp(after, curve[0], row)] for row in curve[1]]))


def counted(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Updates ``[points]`` and recovery steps so far ``[seeds, points]``, both from 0.

    An epoch whose own episodes break the limit is a recovery in each of these methods.
    """
    curve = Curve.from_dict(record["curves"][UNSAFE])
    updates = np.concatenate([[0.0], curve.steps / record["log_every"]])
    steps = np.cumsum(curve.values * np.diff(updates), axis=1)
    return updates, np.concatenate([np.zeros((len(steps), 1)), steps], axis=1)


# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """What the thesis says of its figure, in every place that has records; and LBPO beside it."""
    table = Counts(records)
    places = table.places()
    made = [_often(table, place, method) for method in ("CPO", "SDDPG") for place in places]
    return made + [_less(table, place, rival) for rival in METHODS[:-1] for place in places]


def _often(table: Counts, place: str, method: str) -> Claim:
    ours, plain = table.total(place, method), table.total(place, "BACKTRACK")
    verdict = at_least(ours, plain, FACTOR)
    return Claim(
        f"{method} recovers at least {FACTOR:g} times as often as BACKTRACK, which has no other means",
        _where(table, place),
        f"{written(ours, 0)} against {written(plain, 0)}",
        _doubted(verdict, table, place, method, "BACKTRACK"),
    )


def _less(table: Counts, place: str, rival: str) -> Claim:
    ours, theirs = table.total(place, "LBPO"), table.total(place, rival)
    # None at all in either is no failure of LBPO's.
    none = ours is not None and theirs is not None and ours.upper == theirs.upper == 0
    verdict = at_most(ours, theirs) if none else below(ours, theirs)
    return Claim(
        f"Ours: LBPO recovers less often than {rival} (or both never)",
        _where(table, place),
        f"{written(ours, 0)} against {written(theirs, 0)}",
        _doubted(verdict, table, place, "LBPO", rival),
    )


def _where(table: Counts, place: str) -> str:
    return f"{place}, {table.updates(place)} updates"


def _doubted(verdict: Verdict, table: Counts, place: str, *methods: str) -> Verdict:
    """One seed has no interval: then the numbers decide nothing for certain."""
    return verdict.among(sum(len(record["seeds"]) for record in table.of(place, m)) for m in methods)


# Page -----------------------------------------------------------------------------------------------

CAPTION = "Recovery steps up to each update. Mean and bootstrap band over seeds."


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``lbpo-backtracks.md`` and ``lbpo-backtracks/recoveries.svg`` into ``folder``; returns the
    page's path. ``runs`` is not needed."""
    del runs
    folder = Path(folder)
    table = Counts(records)
    found = claims(records)
    parts = [
        _head(records, scale),
        pages.in_short(found, "places"),
        "## Recovery steps\n\nEpochs whose own episodes were above the limit. SDDPG, BACKTRACK and LBPO then "
        "only lower the cost; CPO steps back within its linear model of it, and spends on reward what that "
        "leaves. Interquartile mean over seeds, bootstrap over seeds.",
        _table(table),
        _figure(table, folder / EXPERIMENT.name),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def _head(records: Sequence[Record], scale: str) -> str:
    trained = [record for record in records if record["method"] in METHODS]
    return pages.head(
        EXPERIMENT,
        "LBPO: recovery steps",
        "Source: Sikchi 2022, chapter 4, Figure 4.7: recovery steps of CPO, SDDPG and BACKTRACK over "
        f"{UPDATES} updates, without printed numbers. LBPO is added. The cells on the safety tasks are "
        "those of [the benchmark](lbpo-benchmark.md), as far as they have been run; the noisy walk is "
        "that of [the experiment on errors](lbpo-robustness.md), with more epochs.",
        f"Scale: `{scale}`, {len(trained)} cells of "
        f"{sum(cell.method != START and cell.group == 'main' for cell in EXPERIMENT.cells(scale))}.",
        records=records,
        scale=scale,
    )


def _table(table: Counts) -> str:
    rows = []
    for place in table.places():
        seeds = pages.span(sum(len(r["seeds"]) for r in table.of(place, m)) for m in METHODS)
        totals = [written(table.total(place, method), 0) for method in METHODS]
        rows.append((place, str(table.updates(place)), *totals, seeds))
    return markdown_table(("where", "updates", *METHODS, "seeds"), rows)


def _figure(table: Counts, folder: Path) -> str:
    panels: figures.Curves = {}
    for place in table.places():
        for method in METHODS:
            curve = table.curve(place, method)
            if curve is not None:
                near = curve[0] <= UPDATES
                panels.setdefault((place, "recovery steps"), {})[method] = (curve[0][near], curve[1][:, near])
    if not panels:
        return ""
    figures.curves(panels, folder / "recoveries.svg", along="update", methods=METHODS)
    return pages.image(f"{folder.name}/recoveries.svg", CAPTION)
