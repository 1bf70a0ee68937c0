"""The page of the barrier's weight. All of it comes from ``summary.json`` and the barrier's formula; no
sentence about a result is written by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import figures, pages
from surefoot.experiments.lbpo_benchmark import LIMIT as TASK_LIMIT
from surefoot.experiments.lbpo_beta import EXPERIMENT, NOISE, RAW, TASK, expected
from surefoot.experiments.lbpo_robustness import ENVIRONMENT, LIMIT
from surefoot.experiments.results import (
    Claim,
    Record,
    at_most,
    below,
    between,
    markdown_table,
    metric,
    show,
)
from surefoot.experiments.training_metrics import UNSAFE, Curve

WALK = "noisy walk"
CRITICS = "critics of the noise"
SLACK = 0.15
"""How far from the prediction the cost may be."""
SHOWN = (0.001, 0.005, 0.02)
"""Betas of the barrier's picture."""
EPSILON = 0.05
"""Budget of the barrier's picture: a cost of 20 where 25 are allowed."""

# Numbers --------------------------------------------------------------------------------------------


def betas(
    records: Iterable[Record], place: str, critics: Mapping[str, Any] = RAW
) -> dict[float, list[Record]]:
    """beta, rising -> its records with such critics: one on the noisy walk, one a seed on the safety task."""
    found: dict[float, list[Record]] = {}
    for record in records:
        here = WALK if record["environment"] == ENVIRONMENT else TASK
        form = {name: record["options"][name] for name in NOISE if name in record["options"]}
        if here == place and form == dict(critics) and "beta" in record["options"]:
            found.setdefault(record["options"]["beta"], []).append(record)
    return dict(sorted(found.items()))


def cost_of(record: Record) -> Estimate | None:
    """True cost at the end on the noisy walk; on the safety task that of the last policy."""
    name = "eval_cost/distance" if record["environment"] == ENVIRONMENT else "cost/cost"
    return metric(record, name)


# Claims ---------------------------------------------------------------------------------------------


def claims(records: Sequence[Record]) -> list[Claim]:
    """What the thesis says of Figure 4.5, and our prediction on the noisy walk."""
    walked, of_noise = betas(records, WALK), betas(records, WALK, NOISE)
    made = [_falls(low, a[0], high, b[0]) for (low, a), (high, b) in pairwise(walked.items())]
    if len(walked) > 1:
        first, last = (walked[beta][0] for beta in (min(walked), max(walked)))
        ours, theirs = (metric(record, "eval_" + UNSAFE) for record in (last, first))
        made.append(
            Claim(
                "The largest beta breaks the limit no more often than the smallest",
                f"{WALK}, beta {max(walked):g} and {min(walked):g}",
                f"{show(UNSAFE, ours)} against {show(UNSAFE, theirs)}",
                at_most(ours, theirs),
            )
        )
    made += [_as_expected(beta, found[0]) for beta, found in walked.items()]
    made += [_as_expected(beta, found[0], CRITICS) for beta, found in of_noise.items()]
    searched = betas(records, TASK)
    for (low, a), (high, b) in pairwise(searched.items()):
        for one, other in zip(a, b, strict=False):
            made.append(_falls(low, one, high, other))
    return made


def _falls(low: float, one: Record, high: float, other: Record) -> Claim:
    less, more = cost_of(other), cost_of(one)
    return Claim(
        "A larger beta keeps the cost lower",
        f"{WALK if one['environment'] == ENVIRONMENT else one['setting']}, beta {high:g} and {low:g}",
        f"{show('cost', less)} against {show('cost', more)}",
        below(less, more),
    )


def _as_expected(beta: float, record: Record, critics: str = "") -> Claim:
    cost, goal = cost_of(record), expected(beta)
    return Claim(
        f"Ours: {critics and f'with {critics} '}the cost settles within {SLACK:g} of max(1.4, 2 - 100 beta)",
        f"{WALK}, beta {beta:g}",
        f"{show('cost', cost)}, expected {goal:.2f}",
        between(cost, goal - SLACK, goal + SLACK),
    )


# Page -----------------------------------------------------------------------------------------------

FIGURES = {
    "barrier": f"The barrier, -beta log(eps - x) + beta log eps, with a budget eps of {EPSILON:g}: x is how "
    "much an action raises the expected cost. Dashed: its slope at 0, times x, which the thesis' program "
    "uses.",
    "walk": "Cost of the policies on the noisy walk, from fresh episodes, over the epochs; red is the "
    "limit. Mean and bootstrap band over seeds.",
    "settled": "Cost on the noisy walk at the end, and where it was expected.",
    "task": f"{TASK}: return and cost of the behaviour policies while training; red is the limit.",
}


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``lbpo-beta.md`` and the figures ``lbpo-beta/*.svg`` into ``folder``; returns the page's path.
    ``runs`` is not needed."""
    del runs
    folder = Path(folder)
    drawn = _figures(records, folder / EXPERIMENT.name)
    found = claims(records)

    parts = [
        _head(records, scale),
        pages.in_short(found, "betas"),
        "## The barrier\n\nThe steeper it is at 0, the less a rise of the cost is worth. The slope is "
        "beta / eps, so it is the same for half the beta with half the budget: a larger beta is a limit "
        "that is felt earlier.",
        pages.shown(drawn, FIGURES, "barrier"),
        "## The noisy walk\n\nReward and cost are the same number, and 2 is allowed. Shares of the epochs "
        "whose policy breaks the limit, and the cost over the last tenth of the epochs, both from fresh "
        f"episodes. [*{CRITICS.capitalize()}*](../lbpo.md#critics-of-the-noise) are ours.",
        _walked(records),
        pages.shown(drawn, FIGURES, "settled"),
        pages.shown(drawn, FIGURES, "walk"),
        f"## {TASK}\n\nOf the behaviour policies: share of the epochs that break the limit; and the last "
        "policy in fresh episodes.",
        _searched(records),
        pages.shown(drawn, FIGURES, "task"),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def _head(records: Sequence[Record], scale: str) -> str:
    trained = [record for record in records if "beta" in record["options"]]
    wanted = [cell for cell in EXPERIMENT.cells(scale) if "beta" in cell.options]
    return pages.head(
        EXPERIMENT,
        "LBPO: the barrier's weight",
        "Source: Sikchi 2022, chapter 4, Figures 4.1 and 4.5, without printed numbers. beta weighs the "
        "barrier that LBPO puts at the edge of what is safe; the thesis searched 0.005, 0.008, 0.01 and "
        "0.02.",
        f"Scale: `{scale}`, {len(trained)} of {len(wanted)} cells; "
        f"{pages.span(len(r['seeds']) for r in trained)} seeds a cell.",
        records=records,
        scale=scale,
    )


def _walked(records: Sequence[Record]) -> str:
    kinds = [betas(records, WALK, critics) for critics in (RAW, NOISE)]
    rows = []
    for beta in sorted({beta for kind in kinds for beta in kind}):
        of_kind = [kind[beta][0] if beta in kind else None for kind in kinds]
        costs = [show("cost", cost_of(record) if record else None) for record in of_kind]
        broken = [show(UNSAFE, metric(record, "eval_" + UNSAFE)) for record in of_kind]
        rows.append((f"{beta:g}", f"{expected(beta):.2f}", *costs, *broken))
    head = ("beta", "expected", "cost", f"with {CRITICS}", "unsafe policies", f"with {CRITICS}")
    return markdown_table(head, rows)


def _searched(records: Sequence[Record]) -> str:
    rows = []
    for beta, found in betas(records, TASK).items():
        for record in found:
            names = ("return", "cost/cost", UNSAFE)
            values = [show(name, metric(record, name)) for name in names]
            steps = f"{record['steps']:,}"
            rows.append((f"{beta:g}", str(record["seeds"][0]), *values, steps))
    if not rows:
        return "Not run."
    return markdown_table(("beta", "seed", "return", "cost", "unsafe policies", "steps"), rows)


# Figures --------------------------------------------------------------------------------------------


def barrier(beta: float, eps: float, rise: np.ndarray) -> np.ndarray:
    """psi of Eq. 4.11, 0 at 0; infinite from the budget on."""
    left = eps - rise
    inside = np.where(left > 0, left, eps)
    return np.where(left > 0, -beta * np.log(inside / eps), math.inf)


def _figures(records: Sequence[Record], folder: Path) -> dict[str, str]:
    """Draws what there are numbers for; returns paths relative to the page."""
    rise = np.linspace(-EPSILON, EPSILON, 400, endpoint=False)
    lines = {f"beta = {b:g}": (rise, barrier(b, EPSILON, rise), b / EPSILON * rise) for b in SHOWN}
    figures.functions(
        lines, folder / "barrier.svg", across="rise of the expected cost", up="barrier", edge=EPSILON
    )
    _walk_figures(records, folder)
    panels: figures.Curves = {}
    rows = {"return": "return", "cost/cost": "cost of an episode"}
    for beta, found in betas(records, TASK).items():
        for name, row in rows.items():
            read = [Curve.from_dict(record["curves"][name]) for record in found]
            values = np.concatenate([curve.values for curve in read])
            panels.setdefault((TASK, row), {})[f"beta = {beta:g}"] = (read[0].steps / 1e6, values)
    if panels:
        limits = {rows["cost/cost"]: TASK_LIMIT}
        figures.curves(panels, folder / "task.svg", along="million steps", limits=limits)
    return pages.pictures(folder, FIGURES)


def _walk_figures(records: Sequence[Record], folder: Path) -> None:
    walked = betas(records, WALK)
    row = "cost of an episode"
    panels: figures.Curves = {}
    for beta, (record, *_) in walked.items():
        curve = Curve.from_dict(record["curves"]["eval_cost/distance"])
        panels.setdefault((WALK, row), {})[f"beta = {beta:g}"] = (
            curve.steps / record["log_every"],
            curve.values,
        )
    if panels:
        figures.curves(panels, folder / "walk.svg", along="epoch", limits={row: LIMIT})
        lines = {"LBPO": walked, CRITICS: betas(records, WALK, NOISE)}
        ends = {
            name: (
                np.array(list(kind)),
                np.array([found[0]["per_seed"]["eval_cost/distance"] for found in kind.values()]).T,
            )
            for name, kind in lines.items()
            if kind
        }
        goal = np.array([[expected(beta) for beta in walked]])
        settled = {(WALK, row): ends | {"expected": (np.array(list(walked)), goal)}}
        figures.curves(settled, folder / "settled.svg", along="beta", limits={row: LIMIT}, log=True)
