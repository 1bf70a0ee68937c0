"""The page of LBPO's settings. All of it comes from ``summary.json``; no sentence about a result is written
by hand. Cells that have not been run show as gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import figures, pages
from surefoot.experiments.lbpo_ablations import BASE, DESCENT, EXPERIMENT, TASK
from surefoot.experiments.lbpo_benchmark import LIMIT, START, TASKS
from surefoot.experiments.lbpo_benchmark_page import GAP, Seeds
from surefoot.experiments.results import (
    Claim,
    Record,
    Verdict,
    at_least,
    at_most,
    below,
    markdown_table,
    metric,
    over_seeds,
    show,
)
from surefoot.experiments.training_metrics import UNSAFE, Curve, at_the_end

GROUPS = {
    "learning": (
        "Learning from few epochs",
        "How strong the noise is, and how critics are fitted: what the thesis' program has where the "
        "benchmark has something else, one by one and all of it with its beta (`program`); or the other way "
        "round, towards what the benchmark has at `laptop`.",
    ),
    "critics": (
        "Critics",
        "`trace=0.8`: targets that look less far ahead, computed anew ten times within a fit. "
        "`critic_epochs=4`: critics are fitted to the transitions of four epochs. `critic_action=noise`: "
        "they take the noise in the place of the action, from a start with such critics.",
    ),
    "step": (
        "Budget, barrier, step",
        "The discounted budget has as much less of beta as the budget is smaller. Shorter epochs are more "
        "epochs for the same steps, each judged by fewer episodes.",
    ),
    "start": ("Start", "*Fresh critics*: only the policy of the start is taken over."),
    "length": (
        "Length",
        "As many epochs as the thesis has, with the benchmark's settings and with those of its program. The "
        "share of unsafe epochs is of all of them.",
    ),
    "CPO": (
        "CPO",
        "As its paper has it, and with steps that lower the cost alone while the limit is broken.",
    ),
}
"""Group -> title, and what its rows are."""
ROWS = {"return": "return", "cost/cost": "cost of an episode"}
"""Metric -> row of a figure."""
GREEDY = ("greedy_return", "greedy_cost/cost")

# Numbers --------------------------------------------------------------------------------------------


def reference(group: str) -> str:
    """The benchmark's cell beside which the cells of a group stand."""
    return "CPO" if group == "CPO" else BASE


def labels(records: Iterable[Record], group: str) -> list[str]:
    """Methods of a group that have records, in their order."""
    return list(dict.fromkeys(record["method"] for record in records if record["group"] == group))


def ending(table: Seeds, method: str, name: str) -> Estimate | None:
    """Of a metric of training, the last tenth of the run; of one of the evaluation, the last policy."""
    values = []
    for record in table.of(TASK, method):
        if name in record["curves"]:
            values += list(at_the_end(Curve.from_dict(record["curves"][name]).values))
        elif (found := metric(record, name)) is not None:
            values.append(found.estimate)
    return over_seeds(values)


# Claims ---------------------------------------------------------------------------------------------


def claims(records: Sequence[Record]) -> list[Claim]:
    """Ours: the benchmark's settings are as safe as any of these, and return as much."""
    table = Seeds(records)
    methods = [method for group in GROUPS if group != "CPO" for method in labels(records, group)]
    methods = methods if table.of(TASK, BASE) else []
    safe = "Ours: the benchmark's LBPO breaks the limit in no more epochs than with another setting"
    made = [_beside(table, method, safe, UNSAFE, table.unsafe, at_most) for method in methods]
    earns = "Ours: it returns at least as much"
    made += [_beside(table, method, earns, "return", table.returned, at_least) for method in methods]
    return made + ([_descends(table)] if labels(records, "CPO") else [])


def _beside(
    table: Seeds,
    method: str,
    claim: str,
    name: str,
    of: Callable[[str, str], Estimate | None],
    holds: Callable[[Estimate | None, Estimate | None], Verdict],
) -> Claim:
    """The benchmark's cell beside that of ``method``, by one metric."""
    ours, theirs = of(TASK, BASE), of(TASK, method)
    return Claim(
        claim,
        method,
        f"{show(name, ours)} against {show(name, theirs)}",
        holds(ours, theirs).among(len(table.of(TASK, each)) for each in (BASE, method)),
    )


def _descends(table: Seeds) -> Claim:
    ours, theirs = table.unsafe(TASK, DESCENT), table.unsafe(TASK, "CPO")
    return Claim(
        "Ours: CPO breaks the limit in fewer epochs if it only lowers the cost while it is broken",
        TASK,
        f"{show(UNSAFE, ours)} against {show(UNSAFE, theirs)}",
        below(ours, theirs).among(len(table.of(TASK, name)) for name in (DESCENT, "CPO")),
    )


# Page -----------------------------------------------------------------------------------------------


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``lbpo-ablations.md`` and the figures ``lbpo-ablations/*.svg`` into ``folder``; returns the
    page's path. ``runs`` is not needed."""
    del runs
    folder = Path(folder)
    table, found = Seeds(records), claims(records)
    captions = {
        group: f"{title}: return and cost of the behaviour policies while training; red is the limit."
        for group, (title, _) in GROUPS.items()
    }
    _figures(records, table, folder / EXPERIMENT.name)
    drawn = pages.pictures(folder / EXPERIMENT.name, GROUPS)
    wanted = [cell for cell in EXPERIMENT.cells(scale) if cell.group != START]
    parts = [
        _head(records, scale, len(wanted)),
        pages.in_short(found, "variants"),
    ]
    for group, (title, about) in GROUPS.items():
        methods = dict.fromkeys(cell.method for cell in wanted if cell.group == group)
        parts += [f"## {title}\n\n{about}", _table(table, [reference(group), *methods])]
        parts.append(pages.shown(drawn, captions, group))
    parts += [pages.every_verdict(found), pages.make_again(EXPERIMENT, records, scale)]
    return pages.save(EXPERIMENT, folder, parts)


def _head(records: Sequence[Record], scale: str, wanted: int) -> str:
    trained = [record for record in records if record["group"] != START]
    published = TASKS[TASK].published(BASE)
    return pages.head(
        EXPERIMENT,
        "LBPO: what its settings do",
        f"`Safety{TASK}-v0` with a limit of {LIMIT:g} on the cost of an episode; each row is the benchmark's "
        f"cell ([page](lbpo-benchmark.md)) with the setting that it names changed, from the same safe start. "
        f"The thesis (Sikchi 2022, Tables 4.1 and 4.3) has {100 * published[UNSAFE]:.0f} % unsafe epochs and "
        f"a return of {published['return']:.1f} after {20_000_000:,} steps.",
        "*Unsafe*: share of the epochs whose behaviour policy, noise included, costs more than the limit. "
        "*Return, cost*: of the behaviour policies of the last tenth of the epochs. *Last policy*: in fresh "
        "episodes without noise.",
        f"Scale: `{scale}`, {len(trained)} of {wanted} cells; "
        f"{pages.span(record['steps'] for record in trained)} steps. Where there are several seeds a row is "
        "their mean. **With so few the order of rows that are close to each other says nothing.**",
        records=records,
        scale=scale,
    )


def _table(table: Seeds, methods: Sequence[str]) -> str:
    rows = []
    for method in methods:
        if not table.of(TASK, method):
            rows.append((f"`{method}`", *[GAP] * 6))
            continue
        unsafe = show(UNSAFE, table.unsafe(TASK, method))
        trained = [_number(ending(table, method, name)) for name in ROWS]
        last = [_number(ending(table, method, name)) for name in GREEDY]
        rows.append((f"`{method}`", str(len(table.of(TASK, method))), unsafe, *trained, *last))
    head = ("setting", "seeds", "unsafe", "return", "cost", "last policy: return", "cost")
    return markdown_table(head, rows)


def _number(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.estimate:.1f}"


def _figures(records: Sequence[Record], table: Seeds, folder: Path) -> None:
    """Draws the groups that there are numbers for."""
    for group in GROUPS:
        panels: figures.Curves = {}
        methods = labels(records, group)
        for method in [reference(group), *methods] if methods else ():
            for name, row in ROWS.items():
                read = [Curve.from_dict(record["curves"][name]) for record in table.of(TASK, method)]
                if read:
                    values = np.concatenate([curve.values for curve in read])
                    panels.setdefault((TASK, row), {})[method] = (read[0].steps / 1e6, values)
        if panels:
            limits = {ROWS["cost/cost"]: LIMIT}
            figures.curves(panels, folder / f"{group}.svg", along="million steps", limits=limits)
