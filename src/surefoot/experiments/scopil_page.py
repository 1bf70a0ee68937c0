"""The page of the SCOPIL experiment: our numbers beside the paper's claims. Everything is computed
from ``summary.json``; no sentence about a result is written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import figures, pages
from surefoot.experiments.results import (
    RATES,
    UNKNOWN,
    Claim,
    Record,
    Records,
    at_least,
    at_most,
    below,
    between,
    markdown_table,
    metric,
    overlap,
    show,
)
from surefoot.experiments.scopil import (
    BASE,
    DEFAULTS,
    EXPERIMENT,
    METHODS,
    PUBLISHED,
    SENSITIVITY,
    SETTINGS,
)
from surefoot.training.run import atomic_write

STARTS = {"": "training starts", "test_": "test starts"}
STEPS = "violating_steps_per_episode"
EPISODES = "violating_episodes"
COLUMNS = {
    "return": "return",
    "success": "success",
    STEPS: "violating steps an episode",
    EPISODES: "violating episodes",
}
"""Metric -> head of its column."""
ORDER = ("Expert", *METHODS)

# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """Every claim, in every setting that has records."""
    table = Records(records)
    settings = [setting for setting in SETTINGS if table.get(setting, "SCOPIL")]
    made: list[Claim] = []
    for make in (_tenth, _tenth_of_episodes, _success, _return):
        made += [make(table, setting, prefix) for setting in settings for prefix in STARTS]
    for rival in ("ICRL", "BC"):
        made += [_better(table, setting, prefix, rival) for setting in settings for prefix in STARTS]
    made += [_each_constraint(table, prefix) for prefix in STARTS if table.get(_MOST, "SCOPIL")]
    made += [_same_rate(table, setting) for setting in settings]
    made += [_ablation(table, setting) for setting in settings]
    if table.get("two-modes", "SCOPIL"):
        made += [make(table, prefix) for make in (_both_ways, _never_crossed) for prefix in STARTS]
    return made


_MOST = max(SETTINGS, key=lambda name: len(SETTINGS[name]))


def _tenth(table: Records, setting: str, prefix: str) -> Claim:
    ours, sac = (table.metric(setting, method, prefix + STEPS) for method in ("SCOPIL", "SAC"))
    return Claim(
        "SCOPIL: at most a tenth of SAC's violating steps an episode",
        _where(setting, prefix),
        _ratio(STEPS, ours, sac, "SAC") + _worst(table, setting, prefix + STEPS, max),
        _tenth_of(ours, sac),
    )


def _tenth_of_episodes(table: Records, setting: str, prefix: str) -> Claim:
    ours, sac = (table.metric(setting, method, prefix + EPISODES) for method in ("SCOPIL", "SAC"))
    return Claim(
        "SCOPIL: at most a tenth of SAC's violating episodes (stricter: one bad step counts)",
        _where(setting, prefix),
        _ratio(EPISODES, ours, sac, "SAC") + _worst(table, setting, prefix + EPISODES, max),
        _tenth_of(ours, sac),
    )


def _tenth_of(ours: Estimate | None, sac: Estimate | None) -> Any:
    if sac is not None and sac.estimate == 0:
        return UNKNOWN  # nothing to compare with: SAC does not violate here
    return at_most(ours, sac, PUBLISHED["violations_relative_to_sac"])


def _success(table: Records, setting: str, prefix: str) -> Claim:
    ours = table.metric(setting, "SCOPIL", prefix + "success")
    return Claim(
        "SCOPIL: success of at least 95 %",
        _where(setting, prefix),
        show("success", ours) + _worst(table, setting, prefix + "success", min),
        at_least(ours, 0.95),
    )


def _return(table: Records, setting: str, prefix: str) -> Claim:
    ours, expert = (table.metric(setting, method, prefix + "return") for method in ("SCOPIL", "Expert"))
    verdict = UNKNOWN
    if expert is not None:
        # Nine tenths of a negative return would be more than it; a tenth of its size is taken off.
        factor = 0.9 if expert.estimate >= 0 else 1.1
        verdict = at_least(ours, expert, factor)
    return Claim(
        "SCOPIL: at least 90 % of the expert's return",
        _where(setting, prefix),
        _beside("return", ours, expert, "expert"),
        verdict,
    )


def _better(table: Records, setting: str, prefix: str, rival: str) -> Claim:
    ours, theirs = (table.metric(setting, method, prefix + STEPS) for method in ("SCOPIL", rival))
    gain, their_gain = (table.metric(setting, method, prefix + "return") for method in ("SCOPIL", rival))
    return Claim(
        f"SCOPIL: fewer violating steps than {rival} at no lower return",
        _where(setting, prefix),
        f"{_beside(STEPS, ours, theirs, rival)}; return {_beside('return', gain, their_gain, rival)}",
        below(ours, theirs) & at_least(gain, their_gain),
    )


def _each_constraint(table: Records, prefix: str) -> Claim:
    verdict, parts = None, []
    for constraint in SETTINGS[_MOST]:
        name = f"{prefix}{STEPS}/{constraint}"
        ours, sac = (table.metric(_MOST, method, name) for method in ("SCOPIL", "SAC"))
        each = _tenth_of(ours, sac)
        verdict = each if verdict is None else verdict & each
        parts.append(f"{constraint}: {_ratio(STEPS, ours, sac, 'SAC')}")
    return Claim(
        "SCOPIL: several kinds of constraint at once, each violated at most a tenth as often as by SAC",
        _where(_MOST, prefix),
        "; ".join(parts),
        verdict or UNKNOWN,
    )


def _same_rate(table: Records, setting: str) -> Claim:
    train, test = (table.metric(setting, "SCOPIL", prefix + EPISODES) for prefix in STARTS)
    return Claim(
        "SCOPIL: the same share of violating episodes from training and from test starts (intervals overlap)",
        setting,
        f"{show(EPISODES, train)} (training), {show(EPISODES, test)} (test)",
        overlap(train, test),
    )


def _ablation(table: Records, setting: str) -> Claim:
    def pair(name: str) -> tuple[Estimate | None, Estimate | None]:
        full, without = (table.metric(setting, m, f"test_{name}") for m in ("SCOPIL", "S-DGD-EiC"))
        return full, without

    (ours, without), (success, success_without) = pair(STEPS), pair("success")
    return Claim(
        "S-DGD-EiC: worse than SCOPIL from test starts (more violating steps, or less success)",
        setting,
        f"violating steps {_beside(STEPS, without, ours, 'SCOPIL')}; "
        f"success {_beside('success', success_without, success, 'SCOPIL')}",
        below(ours, without) | below(success_without, success),
    )


def _both_ways(table: Records, prefix: str) -> Claim:
    left = table.metric("two-modes", "SCOPIL", prefix + "way_left")
    return Claim(
        "SCOPIL, two modes: each way around the island in 25 to 75 % of the successful episodes",
        _where("two-modes", prefix),
        f"left: {show('way_left', left)}",
        between(left, 0.25, 0.75),
    )


def _never_crossed(table: Records, prefix: str) -> Claim:
    ours = table.metric("two-modes", "SCOPIL", prefix + EPISODES)
    return Claim(
        "SCOPIL, two modes: the island is never crossed",
        _where("two-modes", prefix),
        f"in {show(EPISODES, ours)} of the episodes",
        at_most(ours, 0.0),
    )


def _where(setting: str, prefix: str) -> str:
    return f"{setting}, {STARTS[prefix]}"


def _beside(name: str, ours: Estimate | None, theirs: Estimate | None, whose: str) -> str:
    return f"{show(name, ours)}; {whose} {show(name, theirs)}"


def _ratio(name: str, ours: Estimate | None, theirs: Estimate | None, whose: str) -> str:
    text = _beside(name, ours, theirs, whose)
    if ours is None or theirs is None:
        return text
    if theirs.estimate == 0:
        return f"{text} (no ratio: {whose} has none)"
    return f"{text} (ratio {ours.estimate / theirs.estimate:.3g})"


def _worst(table: Records, setting: str, name: str, pick: Callable[[list[float]], float]) -> str:
    """The worst of SCOPIL's seeds by itself: an interquartile mean leaves it out."""
    values = (table.get(setting, "SCOPIL") or {}).get("per_seed", {}).get(name)
    if not values:
        return ""
    worst = pick(values)
    base = name.removeprefix("test_")
    return "; worst seed " + (f"{100 * worst:.1f} %" if base in RATES else f"{worst:.2f}")


# Page -----------------------------------------------------------------------------------------------


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``scopil.md`` and the figures ``scopil/*.svg`` into ``folder``; returns the page's path.

    ``runs``, the folder of the run folders, is not needed: all numbers are in the records.
    """
    del runs
    folder = Path(folder)
    table = Records(records)
    drawn = _figures(table, folder / "scopil")
    found = claims(records)
    parts = [
        _head(records, scale),
        pages.in_short(found, "settings x starts"),
        _main_tables(table, drawn),
        _two_modes(table),
        _sensitivity(table, drawn),
        _robustness(table),
        _greedy(table),
        _warnings(records),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    path = folder / "scopil.md"
    text = "\n\n".join(part for part in parts if part) + "\n"
    atomic_write(path, text.encode())
    return path


def _head(records: Sequence[Record], scale: str) -> str:
    lines = [
        "# SCOPIL on the Marble Maze: our numbers beside the paper's claims",
        "",
        "This page is made from numbers by `surefoot reproduce scopil --page`; do not edit it.",
        "",
        "Paper: Papadopoulos et al. 2025, *Learning safe, constrained policies via imitation learning*, "
        "[arXiv 2507.06780](https://arxiv.org/abs/2507.06780). Its tables, demonstrations, constraints and "
        "seeds are not published, so what can be set beside ours are its claims. The maze, its constraints "
        "and the demonstrations here are our own design.",
        "",
        f"Scale: `{scale}`, {len(records)} cells, "
        f"{pages.span(len(r['seeds']) for r in records if r['algorithm'] != 'expert')} seeds a cell. "
        "Every seed is evaluated from training and from test starts, with sampled actions unless a table "
        "says otherwise. Numbers are estimates with 95 % intervals.",
        "",
        *pages.origin(records, scale),
    ]
    return "\n".join(lines)


def _main_tables(table: Records, drawn: Mapping[str, str]) -> str:
    parts = ["## Methods and settings", _definitions()]
    for setting in SETTINGS:
        rows = [record for method in ORDER if (record := table.get(setting, method))]
        if rows:
            parts += [f"### {setting}", _metrics_table(rows, lambda record: record["method"])]
    parts += [_image(drawn, "tradeoff"), _image(drawn, "constraints")]
    return "\n\n".join(part for part in parts if part)


def _definitions() -> str:
    from surefoot.evaluation.episodes import DEFINITIONS

    named = {"return", "success", STEPS, EPISODES}
    return "\n".join(f"- **{COLUMNS[name]}**: {text}" for name, text in DEFINITIONS.items() if name in named)


def _metrics_table(
    rows: Sequence[Record],
    label: Callable[[Record], str],
    *,
    extra: Sequence[str] = (),
    mode: str = "",
) -> str:
    """One row a record: the columns from training and test starts, and n episodes (of each).

    ``mode`` is ``greedy_`` for the numbers of the most probable action.
    """
    names = [mode + prefix + name for prefix in STARTS for name in (*COLUMNS, *extra)]
    names = [name for name in names if any(metric(record, name) for record in rows)]
    heads = []
    for name in names:
        name = name.removeprefix(mode)
        base = name.removeprefix("test_")
        heads.append(("test: " if name != base else "") + COLUMNS.get(base, base.replace("_", " ")))
    body = []
    for record in rows:
        n = metric(record, names[0]) if names else None
        seeds = len(record["seeds"])
        count = f"{n.n:,} ({seeds} seed{'s' * (seeds != 1)})" if n else "-"
        body.append((label(record), *(show(name, metric(record, name)) for name in names), count))
    return markdown_table(("method", *heads, "n"), body)


def _two_modes(table: Records) -> str:
    rows = [record for method in ORDER if (record := table.get("two-modes", method))]
    if not rows:
        return ""
    return (
        "## Two ways around an island\n\nThe demonstrations pass the island on the left in half of the "
        "episodes, on the right in the others. A policy that averages them runs into the island; one that "
        "collapses takes one way only.\n\n"
        + _metrics_table(rows, lambda record: record["method"], extra=("way_left",))
    )


def _sensitivity(table: Records, drawn: Mapping[str, str]) -> str:
    rows = table.group("sensitivity")
    if not rows:
        return ""
    base = table.get(BASE, "SCOPIL")
    parts = [
        "## Sensitivity",
        f"One option of SCOPIL changed at a time, on `{BASE}`; the first row changes nothing.",
        _metrics_table(
            [*([base] if base else []), *rows],
            lambda record: "SCOPIL" if record is base else record["setting"].removeprefix(f"{BASE},"),
        ),
        _image(drawn, "sensitivity"),
    ]
    return "\n\n".join(part for part in parts if part)


def _robustness(table: Records) -> str:
    rows = table.group("robustness")
    if not rows:
        return ""
    usual = [record for method in ("BC", "SCOPIL") if (record := table.get(BASE, method))]
    return (
        f"## Robustness\n\nDemonstrations with a flaw, on `{BASE}`: *suboptimal* take longer ways, *partial* "
        "leave out one of the three corners to start from, in *noisy* every tenth episode violates. The "
        "first rows have none.\n\n"
        + _metrics_table(
            [*usual, *rows],
            lambda record: (
                record["method"] + ", " + record["setting"].removeprefix(BASE).lstrip(",")
                if record in rows
                else f"{record['method']}, no flaw"
            ),
        )
    )


def _greedy(table: Records) -> str:
    rows = [
        record
        for setting in SETTINGS
        for method in METHODS
        if (record := table.get(setting, method)) and metric(record, "greedy_return")
    ]
    if not rows:
        return ""
    return (
        "## With the most probable action\n\nThe same policies, without drawing actions. This is how a "
        "policy would usually be deployed, but not how it was trained.\n\n"
        + _metrics_table(rows, lambda record: f"{record['setting']}, {record['method']}", mode="greedy_")
    )


def _warnings(records: Sequence[Record]) -> str:
    rows = [(record["cell"], warning) for record in records for warning in record.get("warnings", ())]
    text = (
        "## Signs of failure\n\nDetected by the program: one way only of several demonstrated ones, a "
        "multiplier that grows without bound, return and violations that swing against each other.\n\n"
    )
    return text + (markdown_table(("cell", "warning"), rows) if rows else "None in any cell.")


# Figures --------------------------------------------------------------------------------------------


def _image(drawn: Mapping[str, str], name: str) -> str:
    return pages.image(drawn[name], FIGURES[name]) if name in drawn else ""


FIGURES = {
    "tradeoff": "Return over the share of violating episodes, one mark a method with both intervals; "
    "filled: training starts, hollow: test starts. The upper left is where one wants to be.",
    "constraints": "Share of violating episodes by constraint, from training starts, with intervals.",
    "sensitivity": "SCOPIL with one option changed: violating steps an episode and success, "
    "from training (filled) and test starts (hollow). The ringed value is the usual one.",
}


def _figures(table: Records, folder: Path) -> dict[str, str]:
    """Draws what there are numbers for; returns paths relative to the page."""
    settings = [setting for setting in SETTINGS if table.get(setting, "SCOPIL")]
    drawn = {}
    if settings:
        figures.tradeoff(
            {
                setting: {
                    method: [(metric(record, p + EPISODES), metric(record, p + "return")) for p in STARTS]
                    for method in ORDER
                    if (record := table.get(setting, method))
                }
                for setting in settings
            },
            folder / "tradeoff.svg",
        )
        figures.bars(
            {
                setting: {
                    method: [metric(record, f"{EPISODES}/{c}") for c in SETTINGS[setting]]
                    for method in ORDER
                    if (record := table.get(setting, method))
                }
                for setting in settings
            },
            {setting: SETTINGS[setting] for setting in settings},
            folder / "constraints.svg",
        )
        drawn |= {"tradeoff": "scopil/tradeoff.svg", "constraints": "scopil/constraints.svg"}
    curves = {label: points for label in SENSITIVITY if len(points := _curve(table, label)) > 1}
    if curves:
        figures.sensitivity(curves, folder / "sensitivity.svg")
        drawn["sensitivity"] = "scopil/sensitivity.svg"
    return drawn


def _curve(table: Records, label: str) -> list[figures.Point]:
    """Points of one option: its value, whether it is the usual one, and the metrics to draw."""
    option, _ = SENSITIVITY[label]
    points = [
        _point(record, float(record["options"][option]), usual=False)
        for record in table.group("sensitivity")
        if record["setting"].startswith(f"{BASE},{label}=")
    ]
    base = table.get(BASE, "SCOPIL")
    if base is not None:
        points.append(_point(base, float(base["options"].get(option, DEFAULTS[option])), usual=True))
    return sorted(points, key=lambda point: point.value)


def _point(record: Record, value: float, usual: bool) -> figures.Point:
    return figures.Point(
        value,
        usual,
        violations=[metric(record, prefix + STEPS) for prefix in STARTS],
        success=[metric(record, prefix + "success") for prefix in STARTS],
    )
