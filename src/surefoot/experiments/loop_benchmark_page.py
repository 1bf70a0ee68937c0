"""The page of LOOP's benchmark. All of it comes from ``summary.json``; no sentence about a result is
written by hand. Cells that have not been run show as gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import Cell, Experiment, figures, pages
from surefoot.experiments.loop_benchmark import EXPERIMENT, METHODS, REFERENCE, TASKS, logged, setting
from surefoot.experiments.results import (
    Claim,
    Record,
    Records,
    Verdict,
    at_least,
    at_most,
    below,
    markdown_table,
    over_seeds,
    written,
)
from surefoot.experiments.training_metrics import Curve

HALF = 0.5
"""Up to this share of LOOP's return a variant is said to be far below it."""
NOTHING = 0.25
"""Up to this share it is said to fail."""
GAP = "not run"
ACTORS = ("TD3", REFERENCE, "MBPO")
"""Methods whose actor acts; it is judged without noise."""

# Numbers --------------------------------------------------------------------------------------------


class Runs:
    """The records of a task and a method, one a seed, taken together."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.all = list(records)
        self._table = Records(self.all)
        self.count = 1 + max((r["seeds"][0] for r in self.all if r.get("seeds")), default=-1)

    def of(self, task: str, method: str) -> list[Record]:
        """Those that there are, by seed; the dashed line has one."""
        names = (
            [f"{task}-reference"] if method == REFERENCE else [setting(task, s) for s in range(self.count)]
        )
        return [record for name in names if (record := self._table.get(name, method)) is not None]

    def tasks(self, methods: Iterable[str] = METHODS) -> list[str]:
        """Those with a record of any of these methods."""
        methods = list(methods)
        return [task for task in TASKS if any(self.of(task, method) for method in methods)]

    def curve(self, task: str, method: str, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Steps ``[points]`` and values ``[seeds, points]`` of a metric, where every seed has a number."""
        read = [Curve.from_dict(r["curves"][name]) for r in self.of(task, method) if name in r["curves"]]
        if not read:
            return None
        size = min(len(curve.steps) for curve in read)
        values = np.concatenate([curve.values[:, :size] for curve in read])
        known = np.isfinite(values).all(axis=0)
        return (read[0].steps[:size][known], values[:, known]) if known.any() else None

    def until(self, task: str, methods: Iterable[str], name: str | None = None) -> float:
        """Steps up to which those of these methods that have a curve all have one; 0 if none has."""
        found = [self.curve(task, method, name or evaluated(method)) for method in methods]
        return min((float(curve[0][-1]) for curve in found if curve), default=0.0)

    def mean(self, task: str, method: str, name: str, until: float | None = None) -> Estimate | None:
        """Area under the curve of a metric up to a number of steps, divided by its length."""
        curve = self.curve(task, method, name)
        return None if curve is None else over_seeds(areas(*curve, until))

    def learned(self, task: str, method: str, until: float | None = None) -> Estimate | None:
        """The same of the return of the evaluations: the higher, the faster a method learns."""
        return self.mean(task, method, evaluated(method), until)

    def end(self, task: str, method: str, name: str = "") -> Estimate | None:
        """Return of the last policies, by the episodes after the training."""
        key = name or ended(method)
        return over_seeds([x for r in self.of(task, method) for x in r["per_seed"].get(key, [])])

    def lately(self, task: str, method: str) -> Estimate | None:
        """Return of the episodes that were learned from, in the last tenth of the training."""
        found = [r for r in self.of(task, method) if "return" in r["curves"]]
        return over_seeds(
            [x for r in found for x in Curve.from_dict(r["curves"]["return"]).after(r["steps"])]
        )


def areas(steps: np.ndarray, values: np.ndarray, until: float | None = None) -> np.ndarray:
    """Mean height of the curves ``values[seeds, points]`` between the first point and ``until``."""
    near = steps <= (steps[-1] if until is None else until)
    if near.sum() < 2:
        return values[:, near].mean(axis=1) if near.any() else np.full(len(values), np.nan)
    steps, values = steps[near], values[:, near]
    widths = np.diff(steps)
    return (values[:, 1:] + values[:, :-1]) @ widths / (2 * widths.sum())


def evaluated(method: str) -> str:
    """The metric of a method's evaluations while training."""
    return logged("TD3" if method in ACTORS else method if method in METHODS else "LOOP")[0]


def ended(method: str) -> str:
    """The metric of its evaluation after the training: a planner has no noise to leave out."""
    return "greedy_return" if method in ACTORS else "return"


# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """What the thesis says of its figure, on every task that has records."""
    table = Runs(records)
    tasks = table.tasks()
    made = [faster(table, task, "LOOP", "TD3") for task in tasks]
    made += [_better(table, task, "TD3") for task in tasks]
    for rival, words in (("only CEM", "without a value"), ("random Q", "with a random policy's value")):
        made += [
            _far_below(table, task, rival, HALF, f"{rival}, {words}, ends at half of LOOP's return at most")
            for task in tasks
        ]
    made += [faster(table, task, "LOOP", "without CEM-AG") for task in tasks]
    text = f"Without CEM-AG Walker2d fails: it ends at {100 * NOTHING:g} % of LOOP's return at most"
    failing = [task for task in tasks if task == "Walker2d"]
    return made + [_far_below(table, task, "without CEM-AG", NOTHING, text) for task in failing]


def faster(table: Runs, task: str, method: str, rival: str, text: str = "") -> Claim:
    """Judged by the areas under the curves of the evaluations, up to the same steps."""
    until = table.until(task, (method, rival))
    ours, theirs = (table.learned(task, name, until) for name in (method, rival))
    return Claim(
        text or f"{method} learns faster than {rival}: its mean evaluation over the same steps is higher",
        task,
        f"{number(ours)} against {number(theirs)}",
        doubted(below(theirs, ours), table, task, method, rival),
    )


def _better(table: Runs, task: str, rival: str) -> Claim:
    ours, theirs = table.end(task, "LOOP"), table.end(task, rival)
    return Claim(
        f"LOOP ends above {rival} after as many steps",
        task,
        f"{number(ours)} against {number(theirs)}",
        doubted(below(theirs, ours), table, task, "LOOP", rival),
    )


def _far_below(table: Runs, task: str, rival: str, share: float, text: str) -> Claim:
    ours, theirs = table.end(task, "LOOP"), table.end(task, rival)
    verdict = at_most(theirs, ours, share)
    if verdict.holds is not None:
        verdict &= at_least(ours, 0.0)  # a share of a loss says nothing
    return Claim(
        text,
        task,
        f"{number(theirs)} against {number(ours)}",
        doubted(verdict, table, task, "LOOP", rival),
    )


def doubted(verdict: Verdict, table: Runs, task: str, *methods: str) -> Verdict:
    """A few seeds decide nothing for certain."""
    return verdict.among(len(table.of(task, method)) for method in methods)


def number(value: Estimate | None) -> str:
    """To the unit where it is large: ``3127 [3010, 3202]``; the ends only where there are several seeds."""
    if value is None:
        return GAP
    places = 0 if abs(value.estimate) >= 100 else 1 if abs(value.estimate) >= 10 else 3
    return written(value, places)


# Page -----------------------------------------------------------------------------------------------

CAPTION = "Return of the evaluations while training (Figure 2.2{dashed}). Mean and bootstrap band over seeds."
DASHED = "; dashed: TD3 after a million steps"
TRAINING = "Return of the episodes that were played to learn from. Mean and bootstrap band over seeds."


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``loop-benchmark.md`` and the figures ``loop-benchmark/*.svg`` into ``folder``; returns the
    page's path. ``runs`` is not needed."""
    del runs
    folder = Path(folder)
    table = Runs(records)
    found = claims(records)
    place = folder / EXPERIMENT.name
    dashed = any(record["group"] == REFERENCE for record in records)
    caption = CAPTION.format(dashed=DASHED if dashed else "")
    parts = [
        _head(records, scale),
        pages.in_short(found, "tasks"),
        "## Learning curves",
        returns(table, METHODS, place / "returns.svg", caption, reference=True),
        returns(table, METHODS, place / "training.svg", TRAINING, name="return"),
        "## How fast they learn\n\nMean evaluation over the run, which is the area under its curve.",
        comparison(table, scale, EXPERIMENT, METHODS, table.learned),
        "## Where they end\n\nReturn of the last policies, planners as they plan, TD3 without noise.",
        comparison(table, scale, EXPERIMENT, (*METHODS, REFERENCE), table.end),
        "Return of the episodes that were learned from, in the last tenth of the training (of TD3 with its "
        "noise). Planners change from one fit of the model to the next; this is their mean.",
        comparison(table, scale, EXPERIMENT, METHODS, table.lately),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def _head(records: Sequence[Record], scale: str) -> str:
    return head(
        records,
        scale,
        EXPERIMENT,
        "LOOP beside TD3 and what is left of it without its parts",
        "Sikchi 2022, chapter 2, Figure 2.2, which has no printed numbers: LOOP with TD3 inside, TD3, CEM "
        "with no value at the end of a plan, with the value of a random policy, and LOOP without the actor's "
        "sequences among the candidates (CEM-AG). Five seeds, a million steps, InvertedPendulum 30,000.",
    )


def head(records: Sequence[Record], scale: str, experiment: Experiment, title: str, source: str) -> str:
    """Title, source, scale with what was cut there, and origin of the numbers."""
    cells = experiment.cells(scale)
    trained = [record for record in records if record["group"] != REFERENCE]
    planned = [cell for cell in cells if cell.group != REFERENCE]
    whole = [cell for cell in experiment.cells("paper") if cell.group != REFERENCE]
    return pages.head(
        experiment,
        title,
        f"Source: {source}",
        f"Scale: `{scale}`, {len(trained)} of {len(planned)} cells (a method on a task with a seed). "
        f"{cut(planned, whole)} [loop.md](../loop.md) says what each setting means; the head of "
        f"`src/surefoot/experiments/{experiment.name.replace('-', '_')}.py` lists what else differs.",
        records=records,
        scale=scale,
    )


_LEARNER = {"hidden": [256, 256], "batch_size": 256}
_MODEL = {"model_hidden": [200] * 4, "model_every": 250, "model_batch_size": 256}
USUAL: dict[str, dict[str, Any]] = {
    "loop": _LEARNER | _MODEL | {
        "warm_up": 1_000, "population": 100, "elites": 20, "cem_iterations": 5, "particles": 4, "members": 5,
        "model_epochs": 5, "model_holdout": 0.0, "model_patience": None, "model_max_minibatches": 2_000,
    },
    "td3": _LEARNER,
    "mbpo": _LEARNER | _MODEL | {
        "rollouts_per_step": 400, "rollout_schedule": [1.0, 1.0, 20.0, 150.0], "epoch_steps": 1_000,
        "members": 7, "model_elites": 5, "model_epochs": 100, "model_max_minibatches": 10_000,
    },
}  # fmt: skip
"""Algorithm -> its own value of what the smaller scales set; the same at ``paper`` where a cell says none."""
NAMES = {"loop": "LOOP", "td3": "TD3", "mbpo": "MBPO"}


def cut(cells: Sequence[Cell], whole: Sequence[Cell]) -> str:
    """What the cells do otherwise than those of the same names at ``paper``, in words."""
    there = {cell.name: cell for cell in whole}
    pairs = [(cell, there[cell.name]) for cell in cells]
    seeds, all_seeds = (len({cell.seeds for cell in some}) for some in (cells, whole))
    words = [
        _said(str(seeds), str(all_seeds), "seed" if seeds == 1 else "seeds"),
        _said(_span({c.steps for c, _ in pairs}), _span({c.steps for _, c in pairs}), "steps"),
        _said(
            _span({c.evaluate_episodes for c, _ in pairs}),
            _span({c.evaluate_episodes for _, c in pairs}),
            "episode(s) an evaluation",
        ),
    ]
    found: dict[str, dict[str, tuple[set[str], set[str]]]] = {}
    for cell, usual in pairs:
        for name, value in cell.options.items():
            other = usual.options[name] if name in usual.options else USUAL[cell.algorithm][name]
            if name != "replay_capacity" and value != other:  # it holds the whole run anyway
                ours, theirs = found.setdefault(name, {}).setdefault(NAMES[cell.algorithm], (set(), set()))
                ours.add(_shown(value))
                theirs.add(_shown(other))
    for name, by in found.items():
        alike: dict[tuple[str, str], list[str]] = {}
        for algorithm, (ours, theirs) in by.items():
            alike.setdefault((_list(ours), _list(theirs)), []).append(algorithm)
        words += [
            f"`{name}` of {' and '.join(who)} {_said(ours, theirs)}" for (ours, theirs), who in alike.items()
        ]
    return "Every cell: " + "; ".join(words) + "."


def _said(ours: str, theirs: str, unit: str = "") -> str:
    """What there is; and what it is in full, if that is another number."""
    return f"{ours} {unit}".rstrip() + (f" (in full {theirs})" if ours != theirs else "")


def _span(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _list(values: set[str]) -> str:
    return " or ".join(sorted(values, key=lambda value: (len(value), value)))


def _shown(value: Any) -> str:
    """A setting as the command line takes it."""
    if isinstance(value, list | tuple):
        return " ".join(map(_shown, value))
    return "none" if value is None else f"{value:g}"


def _itself(task: str, method: str) -> str:
    return method


def comparison(
    table: Runs,
    scale: str,
    experiment: Experiment,
    methods: Iterable[str],
    ask: Callable[[str, str], Estimate | None],
    *,
    alias: Callable[[str, str], str] = _itself,
) -> str:
    """A row a task, a column a method; ``ask(task, method)`` is the number. Gaps where nothing was run, ``-``
    where the experiment has no such cell.

    ``alias(task, column)`` is the method whose records a column is made of, where it is not its name.
    """
    methods = list(methods)
    planned = {(cell.setting.rpartition("-")[0], cell.method) for cell in experiment.cells(scale)}
    there = {task for task, _ in planned}
    lines = []
    for task in (task for task in TASKS if task in there):
        names = {m: alias(task, m) for m in methods if (task, alias(task, m)) in planned}
        of = {method: table.of(task, name) for method, name in names.items()}
        told = (number(ask(task, method)) if method in names else "-" for method in methods)
        found = [record for records in of.values() for record in records]
        steps = pages.span(record["steps"] for record in found if record["group"] != REFERENCE)
        seeds = pages.span(len(records) for method, records in of.items() if method != REFERENCE)
        lines.append((task, *told, steps, seeds))
    return markdown_table(("task", *methods, "steps", "seeds"), lines)


# Figures --------------------------------------------------------------------------------------------


def returns(
    table: Runs,
    methods: Iterable[str],
    path: Path,
    caption: str,
    *,
    name: str = "",
    reference: bool = False,
    up: str = "return",
    level: tuple[str, float] | None = None,
    alias: Callable[[str, str], str] = _itself,
) -> str:
    """The picture of a metric against the steps, one panel a task; nothing where there is nothing to show.

    ``name`` is the metric, that of the evaluations if not given. ``level`` is a dashed line of that name at a
    height, ``reference`` that of TD3 after a million steps. ``alias`` is as in :func:`comparison`.
    """
    methods = list(methods)
    panels: dict[tuple[str, str], dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for task in TASKS:
        panel = {}
        for method in methods:
            real = alias(task, method)
            curve = table.curve(task, real, name or evaluated(real))
            if curve is not None:
                panel[method] = (curve[0] / 1000, curve[1])
        if not panel:
            continue
        ends = np.array([0.0, max(places[-1] for places, _ in panel.values())])
        if level is not None:
            panel[level[0]] = (ends, np.full((1, 2), level[1]))
        last = table.end(task, REFERENCE) if reference else None
        if last is not None:
            panel[REFERENCE] = (ends, np.full((1, 2), last.estimate))
        panels[task, up] = panel
    if not panels:
        return ""
    dashed = (REFERENCE, *([level[0]] if level else []))
    figures.curves(panels, path, along="thousand steps", methods=(*methods, *dashed), dashed=dashed)
    return pages.image(f"{path.parent.name}/{path.name}", caption)
