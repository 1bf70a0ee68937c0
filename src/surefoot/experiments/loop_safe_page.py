"""The page of safe planning. All of it comes from ``summary.json``; no sentence about a result is written
by hand. Cells that have not been run show as gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from surefoot.evaluation.statistics import Estimate, bootstrap_iqm
from surefoot.experiments import figures, pages
from surefoot.experiments.loop_safe import (
    EPISODES,
    EXPERIMENT,
    FREE,
    METHODS,
    SAFE,
    STEPS,
    TASKS,
    setting,
)
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
from surefoot.experiments.training_metrics import Curve

GAP = "-"
HALF = 0.5

# Numbers --------------------------------------------------------------------------------------------


class Runs:
    """The records of a task and a method, one a seed, taken together."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.all = list(records)
        self._table = Records(self.all)
        self.count = 1 + max((r["seeds"][0] for r in self.all), default=-1)

    def of(self, task: str, method: str) -> list[Record]:
        """Those that there are, by seed."""
        found = (self._table.get(setting(task, seed), method) for seed in range(self.count))
        return [record for record in found if record is not None]

    def tasks(self) -> list[str]:
        """Those with a record."""
        return [task for task in TASKS if any(self.of(task, method) for method in METHODS)]

    def curve(self, task: str, method: str, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Steps ``[points]`` and values ``[seeds, points]``."""
        read = [Curve.from_dict(r["curves"][name]) for r in self.of(task, method) if name in r["curves"]]
        return (read[0].steps, np.concatenate([curve.values for curve in read])) if read else None

    def trained(self, task: str, method: str, name: str) -> Estimate | None:
        """Mean over the rows of the training after those that hold random actions."""
        curve, records = self.curve(task, method, name), self.of(task, method)
        if curve is None:
            return None
        steps, values = curve
        starts = np.concatenate([[0], steps[:-1]])
        return over_seeds(np.nanmean(values[:, starts >= records[0]["options"]["warm_up"]], axis=1))

    def end(self, task: str, method: str, name: str) -> Estimate | None:
        """Of the last planner; where there are test starts as well, the mean over both."""
        values = []
        for record in self.of(task, method):
            found = [record["per_seed"].get(prefix + name) for prefix in ("", "test_")]
            known = [x for x in found if x]
            if known:
                values.append(float(np.mean(known)))
        return over_seeds(np.array(values))


def over_seeds(values: np.ndarray) -> Estimate | None:
    """Interquartile mean with a bootstrap over seeds."""
    known = np.asarray(values, float)[np.isfinite(values)]
    return bootstrap_iqm(known[:, None]) if len(known) else None


# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """What is expected of safe planning, on every task that has records."""
    table = Runs(records)
    tasks = table.tasks()
    made = [_fewer(table, task, name, "trained") for name in (STEPS, EPISODES) for task in tasks]
    made += [_fewer(table, task, name, "end") for name in (STEPS, EPISODES) for task in tasks]
    return made + [_half(table, task) for task in tasks] + [_return(table, task) for task in tasks]


WORDS = {STEPS: "violating steps an episode", EPISODES: "episodes that violate"}
WHEN = {"trained": "while training, after the random steps", "end": "by the last planner"}


def _fewer(table: Runs, task: str, name: str, when: str) -> Claim:
    ask = table.trained if when == "trained" else table.end
    ours, theirs = (ask(task, method, name) for method in (SAFE, FREE))
    return Claim(
        f"With the limit there are fewer {WORDS[name]} {WHEN[when]}",
        task,
        f"{number(ours)} against {number(theirs)}",
        doubted(below(ours, theirs), table, task),
    )


def _half(table: Runs, task: str) -> Claim:
    ours, theirs = (table.trained(task, method, STEPS) for method in (SAFE, FREE))
    return Claim(
        "With the limit there are half as many violating steps while training, or fewer",
        task,
        f"{number(ours)} against {number(theirs)}",
        doubted(at_most(ours, theirs, HALF), table, task),
    )


def _return(table: Runs, task: str) -> Claim:
    ours, theirs = (table.end(task, method, "return") for method in (SAFE, FREE))
    return Claim(
        "The last planner's return with the limit is not below that without",
        task,
        f"{number(ours)} against {number(theirs)}",
        doubted(at_least(ours, theirs), table, task),
    )


def doubted(verdict: Verdict, table: Runs, task: str) -> Verdict:
    """A few seeds decide nothing for certain."""
    return verdict.among(len(table.of(task, method)) for method in METHODS)


def number(value: Estimate | None, percent: bool = False) -> str:
    """``1.31 [1.02, 1.60]``; the ends only where there are several seeds."""
    if value is None:
        return GAP
    if percent:
        return written(value, 0, factor=100.0) + " %"
    return written(value, 1 if abs(value.estimate) >= 10 else 2)


# Page -----------------------------------------------------------------------------------------------


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``loop-safe.md`` and ``loop-safe/training.svg`` into ``folder``; returns the page's path.
    ``runs`` is not needed."""
    del runs
    folder = Path(folder)
    table = Runs(records)
    found = claims(records)
    parts = [
        _head(records, scale),
        pages.in_short(found, "tasks"),
        "## While training\n\nMeans over the episodes that were learned from, after the random steps.",
        _table(table, scale, "trained"),
        _by_constraint(table),
        _picture(table, folder / EXPERIMENT.name / "training.svg"),
        "## The last planner\n\nIn episodes after the training; in the maze half of them from starts that "
        "the training did not have.",
        _table(table, scale, "end"),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def _head(records: Sequence[Record], scale: str) -> str:
    made = EXPERIMENT.cells(scale)
    lengths = {task: next(c.steps for c in made if c.setting == setting(task, 0)) for task in TASKS}
    limits = ", ".join(f"{about.limit:g} in {task}" for task, about in TASKS.items())
    module = f"src/surefoot/experiments/{EXPERIMENT.name.replace('-', '_')}.py"
    return pages.head(
        EXPERIMENT,
        "LOOP with a limit on the cost of its plans",
        "LOOP as it is, and with `plan_cost_limits`: plans whose predicted cost, by the most pessimistic "
        f"network, exceeds a limit ({limits}) rank behind all that keep it. The thesis on LOOP has no such "
        "figure. Costs and rewards are learned; a violating step costs 1. "
        "[Planning safely](../safe_planning.md) says what this can promise.",
        f"Scale: `{scale}`, {len(records)} of {len(made)} cells (a method on a task with a seed), "
        + " and ".join(f"{steps:,} steps of {task}" for task, steps in lengths.items())
        + f". The head of `{module}` describes the tasks, `--list` shows every setting.",
        records=records,
        scale=scale,
    )


def _table(table: Runs, scale: str, when: str) -> str:
    """A row a task and method."""
    there = {cell.setting.rpartition("-")[0] for cell in EXPERIMENT.cells(scale)}
    ask = table.trained if when == "trained" else table.end
    rows = [
        (
            task,
            method,
            number(ask(task, method, STEPS)),
            number(ask(task, method, EPISODES), percent=True),
            number(ask(task, method, "return")),
            number(ask(task, method, "success"), percent=True),
            str(len(table.of(task, method))),
        )
        for task in TASKS
        if task in there
        for method in METHODS
    ]
    head = (
        "task",
        "method",
        "violating steps an episode",
        "episodes that violate",
        "return",
        "success",
        "seeds",
    )
    return markdown_table(head, rows)


def _by_constraint(table: Runs) -> str:
    """Violating steps of each constraint, of the tasks that have several."""
    rows = [
        (task, name, *(number(table.trained(task, method, f"{STEPS}/{name}")) for method in METHODS))
        for task in table.tasks()
        for name in TASKS[task].constraints
    ]
    if not rows:
        return ""
    text = "Violating steps an episode by constraint (a step may violate several):"
    return text + "\n\n" + markdown_table(("task", "constraint", *METHODS), rows)


SHOWN = {STEPS: "violating steps an episode", "return": "return"}


def _picture(table: Runs, path: Path) -> str:
    """Violating steps and return against the steps; nothing where there is nothing to show."""
    panels: dict[tuple[str, str], dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for task in table.tasks():
        for name, label in SHOWN.items():
            panel = {}
            for method in METHODS:
                curve = table.curve(task, method, name)
                if curve is not None:
                    known = np.isfinite(curve[1]).all(axis=0)
                    panel[method] = (curve[0][known] / 1000, curve[1][:, known])
            if panel:
                panels[task, label] = panel
    if not panels:
        return ""
    figures.curves(panels, path, along="thousand steps", methods=METHODS)
    return pages.image(
        f"{path.parent.name}/{path.name}",
        "Episodes that were played to learn from; the first thousand steps are random. Mean and bootstrap "
        "band over seeds.",
    )
