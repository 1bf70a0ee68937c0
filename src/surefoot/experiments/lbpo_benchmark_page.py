"""The page of LBPO's benchmark. All of it comes from ``summary.json``; no sentence about a result is
written by hand. Cells that have not been run show as gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import figures, pages
from surefoot.experiments.lbpo_benchmark import EXPERIMENT, LIMIT, METHODS, START, TASKS, setting
from surefoot.experiments.results import (
    Claim,
    Record,
    Records,
    Verdict,
    at_least,
    at_most,
    markdown_table,
    metric,
    over_seeds,
    show,
)
from surefoot.experiments.training_metrics import UNSAFE, Curve, at_the_end

SAFE = METHODS[1:]
"""The methods that know of the cost."""
ALMOST_ALL = 0.9
"""From this share of epochs on a method breaks the limit almost always."""
HARDLY_ANY = 0.05
"""Up to this share it hardly ever does."""
GAP = "not run"
PUBLISHED_STEPS = 20_000_000

# Numbers --------------------------------------------------------------------------------------------


class Seeds:
    """The records of a task and a method, one a seed, taken together."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.all = list(records)
        self._table = Records(self.all)
        self.count = 1 + max((r["seeds"][0] for r in self.all if r.get("seeds")), default=-1)

    def of(self, task: str, method: str) -> list[Record]:
        """Those that there are, by seed."""
        found = (self._table.get(setting(task, seed), method) for seed in range(self.count))
        return [record for record in found if record is not None]

    def unsafe(self, task: str, method: str) -> Estimate | None:
        """Share of the epochs whose behaviour policy broke the limit: mean over seeds, and a bootstrap."""
        return over_seeds([x for r in self.of(task, method) for x in r["per_seed"].get(UNSAFE, [])])

    def returned(self, task: str, method: str) -> Estimate | None:
        """Return of the behaviour policies of the last tenth of the run."""
        return over_seeds([_end(record, "return") for record in self.of(task, method)])

    def relative(self, task: str, method: str) -> Estimate | None:
        """The same over the mean of PPO's, not below 0."""
        ours, base = self.returned(task, method), self.returned(task, "PPO")
        if ours is None or base is None or not base.estimate > 0:
            return None
        middle, low, high = (max(0.0, x / base.estimate) for x in (ours.estimate, ours.lower, ours.upper))
        return Estimate(middle, low, high, ours.n)

    def tasks(self) -> list[str]:
        """Those with a record of any method."""
        return [task for task in TASKS if any(self.of(task, method) for method in METHODS)]


def _end(record: Record, name: str) -> float:
    (value,) = at_the_end(Curve.from_dict(record["curves"][name]).values)
    return float(value)


# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """What the thesis says of its tables, on every task that has records."""
    table = Seeds(records)
    tasks = table.tasks()
    made = [_hardly_unsafe(table, task) for task in tasks]
    made += [_safer(table, task, rival) for rival in METHODS[:-1] for task in tasks]
    made += [_returns(table, task, "LBPO", rival) for rival in ("CPO", "SDDPG") for task in tasks]
    made += [_returns(table, task, "BACKTRACK", rival) for rival in ("CPO", "SDDPG") for task in tasks]
    return made + [_careless(table, task) for task in tasks]


def _hardly_unsafe(table: Seeds, task: str) -> Claim:
    ours = table.unsafe(task, "LBPO")
    return Claim(
        f"LBPO breaks the limit in at most {100 * HARDLY_ANY:g} % of the epochs (the thesis: on all but "
        "PointGoal2)",
        task,
        show(UNSAFE, ours),
        _doubted(at_most(ours, HARDLY_ANY), table, task, "LBPO"),
    )


def _safer(table: Seeds, task: str, rival: str) -> Claim:
    ours, theirs = table.unsafe(task, "LBPO"), table.unsafe(task, rival)
    return Claim(
        f"LBPO breaks the limit in no more epochs than {rival}",
        task,
        f"{show(UNSAFE, ours)} against {show(UNSAFE, theirs)}",
        _doubted(at_most(ours, theirs), table, task, "LBPO", rival),
    )


def _returns(table: Seeds, task: str, method: str, rival: str) -> Claim:
    ours, theirs = table.returned(task, method), table.returned(task, rival)
    return Claim(
        f"{method} returns at least as much as {rival}",
        task,
        f"{show('return', ours)} against {show('return', theirs)}",
        _doubted(at_least(ours, theirs), table, task, method, rival),
    )


def _careless(table: Seeds, task: str) -> Claim:
    found = table.unsafe(task, "PPO")
    return Claim(
        f"PPO, which knows no cost, breaks it in at least {100 * ALMOST_ALL:g} % of the epochs",
        task,
        show(UNSAFE, found),
        _doubted(at_least(found, ALMOST_ALL), table, task, "PPO"),
    )


def _doubted(verdict: Verdict, table: Seeds, task: str, *methods: str) -> Verdict:
    """A few seeds decide nothing for certain."""
    return verdict.among(len(table.of(task, method)) for method in methods)


# Page -----------------------------------------------------------------------------------------------

FIGURES = {
    "tradeoff": "A point is a method on a task. Across: share of the epochs whose behaviour policy broke the "
    "limit. Up: return of the last tenth of the epochs over PPO's. Good is the upper left.",
}
CURVES = (
    "{task}: return and cost of the behaviour policies while training; red is the limit. Mean and range, or "
)
CURVES += "bootstrap band, over seeds."


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``lbpo-benchmark.md`` and the figures ``lbpo-benchmark/*.svg`` into ``folder``; returns the
    page's path. ``runs`` is not needed."""
    del runs
    folder = Path(folder)
    table = Seeds(records)
    drawn = _figures(table, folder / EXPERIMENT.name)
    found = claims(records)
    tasks = [task for task in TASKS if any(c.setting.startswith(f"{task}-") for c in EXPERIMENT.cells(scale))]
    parts = [
        _head(records, scale),
        pages.in_short(found, "tasks"),
        "## Unsafe behaviour policies\n\nShare of the epochs whose behaviour policy costs more than "
        f"{LIMIT:g} an episode, by the epoch's own episodes: in percent, ours, then the thesis' (Table "
        "4.1).",
        _table(table, tasks, UNSAFE),
        "## Return\n\nOf the behaviour policies of the last tenth of the epochs: ours, then that of the "
        "thesis' converged policies (Table 4.3).",
        _table(table, tasks, "return"),
        "### Over PPO's\n\nNot below 0; ours, then the thesis' (Table 4.2).",
        _table(table, tasks, "relative_return"),
        pages.shown(drawn, FIGURES, "tradeoff"),
        "## Where they start\n\nThe shared start of a task and seed: cost of the last tenth of its epochs, "
        "and of the start itself in fresh episodes. Training stopped when a cost was low, so the first is "
        f"rather too low. {_missed(records)}PPO starts from scratch.",
        _starts(table, tasks),
        "## Learning curves" if len(drawn) > 1 else "",
        *(pages.image(drawn[task], CURVES.format(task=task)) for task in tasks if task in drawn),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def _head(records: Sequence[Record], scale: str) -> str:
    trained = [record for record in records if record["group"] != START]
    fewer = any(record["steps"] < PUBLISHED_STEPS for record in trained)
    young = "**Fewer steps than in the thesis: policies still learning are set beside converged ones.** "
    epochs = pages.span(record["steps"] // record["log_every"] for record in trained)
    return pages.head(
        EXPERIMENT,
        "LBPO on the safety tasks",
        "Source: Sikchi 2022, chapter 4, Tables 4.1 to 4.3: six methods on twelve tasks, a limit of "
        f"{LIMIT:g} on the cost of an episode, 20 million steps, three seeds.",
        f"Scale: `{scale}`, {len(trained)} of {sum(c.group != START for c in EXPERIMENT.cells(scale))} cells "
        f"(a method on a task with a seed), {_steps(trained)} steps, which are {epochs} epochs. "
        f"{young if fewer else ''}Networks are "
        f"{' and '.join(sorted({_widths(record) for record in trained})) or 'not known'}. "
        f"{_own_settings(records)}The head of `src/surefoot/experiments/lbpo_benchmark.py` says why, and "
        "lists what else differs.",
        records=records,
        scale=scale,
    )


def _missed(records: Sequence[Record]) -> str:
    """Which starts never came to the cost that they were meant to have."""
    starts = [record for record in records if record["group"] == START]
    missed = [r["setting"] for r in starts if any(text.startswith("target:") for text in r["warnings"])]
    return f"**Not at their target after all of their steps: {', '.join(missed)}.** " if missed else ""


def _own_settings(records: Sequence[Record]) -> str:
    """What LBPO's cells set that its defaults, those of the thesis' program, have otherwise."""
    named = ("beta", "exploration", "targets", "critic_fit", "critic_steps", "critic_minibatch")
    of_lbpo = [record["options"] for record in records if record["method"] == "LBPO"]
    parts = []
    for name in named:
        values = sorted({str(options[name]) for options in of_lbpo if name in options})
        parts += [f"`{name}` {' or '.join(values)}"] if values else []
    if not parts:
        return ""
    chosen = (
        "`beta` was chosen on PointGoal1 with seed 0, a run that is shown here, so its number there flatters "
        "LBPO; those of the thesis' Table 4.4 are 0.005 to 0.01. "
    )
    return f"LBPO has {', '.join(parts)}. {chosen if any('beta' in o for o in of_lbpo) else ''}"


def _steps(records: Iterable[Record]) -> str:
    return " or ".join(f"{n:,}" for n in sorted({record["steps"] for record in records})) or "-"


def _widths(record: Record) -> str:
    return " x ".join(map(str, record["options"]["hidden"]))


def _table(table: Seeds, tasks: Sequence[str], name: str) -> str:
    rows = []
    for task in tasks:
        found = [record for method in METHODS for record in table.of(task, method)]
        seeds = pages.span(len(table.of(task, method)) for method in METHODS)
        cells_ = [_both(table, task, method, name) for method in METHODS]
        rows.append((task, *cells_, _steps(found), seeds))
    return markdown_table(("task", *METHODS, "our steps", "our seeds"), rows)


def _both(table: Seeds, task: str, method: str, name: str) -> str:
    """Ours and the thesis' number, as text."""
    ask = {UNSAFE: table.unsafe, "return": table.returned, "relative_return": table.relative}[name]
    ours, theirs = ask(task, method), TASKS[task].published(method)[name]
    scale, places = (100.0, 0) if name == UNSAFE else (1.0, 2)
    if ours is None:
        return f"{'-' if table.of(task, method) else GAP} / {scale * theirs:.{places}f}"
    middle, low, high = (f"{scale * x:.{places}f}" for x in (ours.estimate, ours.lower, ours.upper))
    ends = f" [{low}, {high}]" if len(table.of(task, method)) > 1 else ""
    return f"**{middle}**{ends} / {scale * theirs:.{places}f}"


def _starts(table: Seeds, tasks: Sequence[str]) -> str:
    rows = []
    for task in tasks:
        found = table.of(task, START)
        costs = [f"{_end(record, 'cost/cost'):.1f}" for record in found]
        fresh = [show("cost", metric(record, "cost/cost")) for record in found]
        rows.append((task, ", ".join(costs) or GAP, ", ".join(fresh) or GAP, _steps(found)))
    head = ("task", "cost of an episode, seed by seed", "in fresh episodes", "steps")
    return markdown_table(head, rows)


# Figures --------------------------------------------------------------------------------------------


def _figures(table: Seeds, folder: Path) -> dict[str, str]:
    """Draws what there are numbers for; returns paths relative to the page."""
    drawn = {}
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for task in table.tasks():
        for method in METHODS:
            unsafe, relative = table.unsafe(task, method), table.relative(task, method)
            if unsafe is not None and relative is not None:
                place = (100 * unsafe.estimate, relative.estimate)
                points.setdefault("ours", {}).setdefault(method, []).append(place)
                published = TASKS[task].published(method)
                place = (100 * published[UNSAFE], published["relative_return"])
                points.setdefault("thesis, same tasks", {}).setdefault(method, []).append(place)
        if _curves(table, task, folder):
            drawn[task] = f"{folder.name}/{task}.svg"
    if points:
        across, up = "unsafe behaviour policies (%)", "return over PPO's"
        figures.scatter(points, folder / "tradeoff.svg", across=across, up=up, methods=METHODS)
        drawn["tradeoff"] = f"{folder.name}/tradeoff.svg"
    return drawn


def _curves(table: Seeds, task: str, folder: Path) -> bool:
    rows = {"return": "return", "cost/cost": "cost of an episode"}
    panels: figures.Curves = {}
    for method in METHODS:
        found = table.of(task, method)
        for name, row in rows.items():
            read = [Curve.from_dict(record["curves"][name]) for record in found]
            if read:
                values = np.concatenate([curve.values for curve in read])
                panels.setdefault((task, row), {})[method] = (read[0].steps / 1e6, values)
    if panels:
        limits = {rows["cost/cost"]: LIMIT}
        path = folder / f"{task}.svg"
        figures.curves(panels, path, along="million steps", limits=limits, methods=METHODS)
    return bool(panels)
