"""The page of LBPO's robustness experiment. All of it comes from ``summary.json``; no sentence about a
result is written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from surefoot.experiments import figures, pages
from surefoot.experiments.lbpo_robustness import (
    EXPERIMENT,
    HORIZON,
    LIMIT,
    MARGIN,
    METHODS,
    NOISE,
    START,
    setting,
)
from surefoot.experiments.results import (
    Claim,
    Record,
    Records,
    at_least,
    below,
    between,
    markdown_table,
    metric,
    show,
)
from surefoot.experiments.training_metrics import UNSAFE, Curve

JUDGES = {UNSAFE: "own samples", "eval_" + UNSAFE: "fresh episodes"}
"""Metric -> by what the violations are counted."""
SLACK = 0.15
"""How far from the prediction LBPO's cost may be to count as settled there."""

# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """What the thesis says of its figure, and our prediction, with every number of episodes
    that has records."""
    table = Records(records)
    counts = _counts(table)
    rivals = [method for method in METHODS if method not in ("LBPO", NOISE)]
    made = [_fewer(table, rival, count, judge) for rival in rivals for judge in JUDGES for count in counts]
    if len(counts) > 1:
        made += [_grows(table, rival, counts, judge) for rival in rivals for judge in JUDGES]
    made += [_cleaner(table, count, judge) for judge in JUDGES for count in counts]
    return made + [_settles(table, method, count) for method in ("LBPO", NOISE) for count in counts]


def _fewer(table: Records, rival: str, count: int, judge: str) -> Claim:
    ours, theirs = (table.metric(setting(count), method, judge) for method in ("LBPO", rival))
    return Claim(
        f"LBPO breaks the limit in fewer epochs than {rival}",
        f"{_number(count)}, {JUDGES[judge]}",
        f"{show(judge, ours)} against {show(judge, theirs)}",
        below(ours, theirs),
    )


def _grows(table: Records, method: str, counts: Sequence[int], judge: str) -> Claim:
    few, many = (table.metric(setting(count), method, judge) for count in (counts[0], counts[-1]))
    return Claim(
        f"{method} breaks it in more epochs when there are few samples than when there are many",
        f"{_number(counts[0])} and {_number(counts[-1])}, {JUDGES[judge]}",
        f"{show(judge, few)} and {show(judge, many)}",
        below(many, few),
    )


def _cleaner(table: Records, count: int, judge: str) -> Claim:
    ours, theirs = (table.metric(setting(count), method, judge) for method in (NOISE, "LBPO"))
    return Claim(
        "Ours: with critics of the noise LBPO breaks the limit in no more epochs than without",
        f"{_number(count)}, {JUDGES[judge]}",
        f"{show(judge, ours)} against {show(judge, theirs)}",
        at_least(theirs, ours),
    )


def _settles(table: Records, method: str, count: int) -> Claim:
    cost = table.metric(setting(count), method, "eval_cost/distance")
    return Claim(
        f"Ours: {method} settles within {SLACK:g} of {MARGIN:g}, where its price is 1",
        _number(count),
        show("cost", cost),
        between(cost, MARGIN - SLACK, MARGIN + SLACK),
    )


def _counts(table: Records) -> list[int]:
    found = {r["steps"] // _epochs(r) // HORIZON for r in table.all if r["setting"] != START}
    return sorted(found)


def _epochs(record: Record) -> int:
    return record["steps"] // record["log_every"]


def _number(count: int) -> str:
    return f"{count} episode{'s' * (count != 1)}"


# Page -----------------------------------------------------------------------------------------------

FIGURES = {
    "violations": "Epochs whose behaviour policy breaks the limit, of all epochs, against the steps an "
    "epoch has. Left as the epoch's own episodes judge it, which is what the methods see; right as fresh "
    "episodes do. Mean and bootstrap band over seeds.",
    "costs": "True cost of the policies, from fresh episodes, over the epochs; red is the limit. Mean and "
    "bootstrap band over seeds.",
}


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``lbpo-robustness.md`` and the figures ``lbpo-robustness/*.svg`` into ``folder``; returns the
    page's path. ``runs`` is not needed."""
    del runs
    folder = Path(folder)
    table = Records(records)
    drawn = _figures(table, folder / EXPERIMENT.name)
    found = claims(records)
    parts = [
        _head(table, scale),
        pages.in_short(found, "numbers of episodes, judges"),
        "## Violations\n\nShare of the epochs whose behaviour policy costs more than 2 an episode. *Own "
        "samples*: by the mean of the epoch's episodes, where the start is the first to be judged. "
        "*Fresh*: by fresh episodes of the policy that the epoch leaves, which plays the next one. A "
        "method that goes as far as it is allowed is above the limit in about half of the epochs, however "
        "good its critics are. Interquartile mean over seeds; interval: bootstrap over seeds.",
        pages.shown(drawn, FIGURES, "violations"),
        *(f"### Judged by {name}\n\n{_table(table, judge)}" for judge, name in JUDGES.items()),
        "## Cost\n\nMean cost of an episode over the last tenth of the epochs, from fresh episodes; where "
        "reward and cost are the same, this is the return as well. The best that is allowed is 2.",
        _table(table, "eval_cost/distance"),
        pages.shown(drawn, FIGURES, "costs"),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def _head(table: Records, scale: str) -> str:
    trained = [record for record in table.all if record["setting"] != START]
    begin = metric(next((r for r in table.all if r["setting"] == START), None), "cost/distance")
    fresh = pages.span(record["evaluate_episodes"] for record in trained)
    return pages.head(
        EXPERIMENT,
        "LBPO: errors of the critics",
        "Source: Sikchi 2022, chapter 4, Figure 4.4, which has no printed numbers. On the noisy walk "
        "(`NoisyWalk-v0`: ten steps in a plane, reward and cost are the distance from the origin, a cost "
        "of 2 is allowed) safe methods are trained with fewer and fewer samples an epoch, and the epochs "
        "are counted whose policy breaks the limit.",
        f"All begin with the same policy, the walk back, which costs {show('cost', begin)} an episode. beta "
        f"of LBPO is 0.005. Here its step turns around where the price of the cost is 1, at a cost of "
        f"{MARGIN:g}: a margin that the others do not keep, whatever their critics are like. So this "
        "experiment cannot tell robustness against errors from caution; "
        "[the one on beta](lbpo-beta.md) shows the caution alone. *Critics of the noise* are "
        "[ours](../lbpo.md#critics-of-the-noise).",
        f"Scale: `{scale}`, {len(table.all)} cells; {pages.span(len(r['seeds']) for r in trained)} seeds, "
        f"{pages.span(_epochs(r) for r in trained)} epochs, {fresh} fresh episodes a policy. The thesis "
        "has 5 seeds and 100 epochs.",
        records=table.all,
        scale=scale,
    )


def _table(table: Records, name: str) -> str:
    counts = _counts(table)
    rows = [
        (method, *(show(name, table.metric(setting(count), method, name)) for count in counts))
        for method in METHODS
    ]
    return markdown_table(("episodes an epoch", *map(str, counts)), rows)


# Figures --------------------------------------------------------------------------------------------


def _figures(table: Records, folder: Path) -> dict[str, str]:
    """Draws what there are numbers for; returns paths relative to the page."""
    counts = _counts(table)
    violations: figures.Curves = {}
    for judge, name in JUDGES.items():
        for method in METHODS:
            known = [c for c in counts if (r := table.get(setting(c), method)) and judge in r["per_seed"]]
            if known:
                found = [table.get(setting(c), method) for c in known]
                values = np.array([record["per_seed"][judge] for record in found if record])
                panel = violations.setdefault((f"judged by {name}", "violating epochs (%)"), {})
                panel[method] = (HORIZON * np.array(known), 100 * values.T)
    if violations:
        figures.curves(violations, folder / "violations.svg", along="steps an epoch", log=True)
    some = sorted({counts[0], counts[len(counts) // 2], counts[-1]}) if counts else []
    row = "cost of an episode"
    costs: figures.Curves = {}
    for count in some:
        for method in METHODS:
            record = table.get(setting(count), method) or {}
            curve = record.get("curves", {}).get("eval_cost/distance")
            if curve:
                read = Curve.from_dict(curve)
                panel = costs.setdefault((f"{_number(count)} an epoch", row), {})
                panel[method] = (read.steps / record["log_every"], read.values)
    if costs:
        figures.curves(costs, folder / "costs.svg", along="epoch", limits={row: LIMIT})
    return pages.pictures(folder, FIGURES)
