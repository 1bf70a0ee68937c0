"""The page of the transfer experiment of f-IRL. Everything is computed from ``summary.json``; no sentence
about a result is written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import figures, pages
from surefoot.experiments.firl_benchmark_page import curve_of, show
from surefoot.experiments.firl_transfer import (
    DISABLED,
    EXPERIMENT,
    EXPERT,
    HEALTHY,
    METHODS,
    MOVED,
    QUOTED,
    UNPERMUTED,
)
from surefoot.experiments.results import (
    Claim,
    Record,
    Records,
    Verdict,
    at_least,
    below,
    markdown_table,
    metric,
)

ROWS = (EXPERT, *METHODS, MOVED, UNPERMUTED)

# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """Every claim that there are records for."""
    table = Records(records)
    found = {method: table.metric(DISABLED, method, "return") for method in ROWS}

    def two(claim: str, first: str, second: str, verdict: Verdict) -> Claim:
        records_ = (table.get(DISABLED, name) for name in (first, second))
        verdict = verdict.among(len(record["seeds"]) for record in records_ if record is not None)
        text = "; ".join(f"{method}: {show(found[method], 1)}" for method in (first, second))
        return Claim(claim, "disabled ant", text, verdict)

    made = []
    for method in METHODS:
        ours, moved, true = (found[name] for name in (method, MOVED, EXPERT))
        record = table.get(DISABLED, method)
        if record is None:
            continue
        made += [
            two(
                f"The reward of {method} is worth more than the policy itself",
                method,
                MOVED,
                below(moved, ours),
            ),
            two(f"The true reward is worth more than that of {method}", EXPERT, method, below(ours, true)),
            _as_published(method, record, ours),
        ]
    if table.get(DISABLED, UNPERMUTED):
        worse = below(found[UNPERMUTED], found[MOVED])
        made.append(two("A policy must be rewired to the other order of motors", MOVED, UNPERMUTED, worse))
    return made


def _as_published(method: str, record: Record, ours: Estimate | None) -> Claim:
    theirs = record["published"]["return"]
    return Claim(
        f"A policy trained on the reward of {method} has at least the published return",
        "disabled ant",
        f"{show(ours, 1)}; published {theirs:.1f}",
        at_least(ours, theirs).among([len(record["seeds"])]),
    )


# Page -----------------------------------------------------------------------------------------------

CAPTION = (
    "Return of the agent's trajectories on the healthy ant against environment steps, while its reward is "
    "learned. The black line is zero."
)


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``firl-transfer.md`` and its figure into ``folder``; returns its path.

    ``runs`` is not needed: everything is in the records.
    """
    del runs
    folder = Path(folder)
    table = Records(records)
    drawn = _curves(table, folder / EXPERIMENT.name)
    found = claims(records)
    quoted = "\n".join(f"- {name}: {value:.1f}" for name, value in QUOTED.items())
    parts = [
        _head(records, scale),
        pages.in_short(found, "cases"),
        "## The disabled ant\n\nReturn by its own reward, of the final policy; interval: bootstrap over "
        "seeds and episodes, so with one seed it speaks of that policy alone.\n\n"
        + _table(table, DISABLED, ROWS)
        + f"\n\nPublished besides:\n\n{quoted}",
        "## The healthy ant\n\nWhere the demonstrations and the rewards come from.\n\n"
        + _table(table, HEALTHY, (EXPERT, *METHODS)),
        pages.image(drawn, CAPTION) if drawn else "",
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def _head(records: Sequence[Record], scale: str) -> str:
    trained = [record for record in records if record["steps"]]
    networks = sorted({" x ".join(map(str, record["options"]["hidden"])) for record in trained})
    shown = sorted({r["takes"]["demonstrations"]["kept"] for r in records if _is_shown(r)})
    return pages.head(
        EXPERIMENT,
        "A reward for another body",
        "Paper: Ni et al. 2020, *f-IRL: inverse reinforcement learning via state marginal matching*, "
        "[arXiv 2011.04709](https://arxiv.org/abs/2011.04709); Tables 3.5 and 3.9 of its thesis version.",
        "A reward is learned from an ant with four legs alike, and SAC is trained on it from scratch on an "
        "ant of which two legs are short and nearly powerless. The reward is that of the last iteration and "
        "of the first seed; the published code chose one by the true reward. The two models' motors are in "
        "different orders: the policy that is moved is rewired, but for the row that says so.",
        f"Scale: `{scale}`, {len(records)} cells, {pages.span(len(r['seeds']) for r in trained)} seed(s). "
        f"Hidden layers of SAC: {', '.join(networks)} (the paper's text has 64 x 64, its code 256 x 256). "
        f"Demonstrations: {pages.span(shown)} trajectories. What a scale cuts stands at the head of "
        "`src/surefoot/experiments/firl_transfer.py`.",
        records=records,
        scale=scale,
    )


def _is_shown(record: Record) -> bool:
    return "demonstrations" in record.get("takes", {})


def _table(table: Records, setting: str, methods: Iterable[str]) -> str:
    rows = []
    for method in methods:
        record = table.get(setting, method)
        if record is None:
            continue
        theirs = record["published"].get("return")
        rows.append(
            (
                method if record["steps"] == 0 or method == EXPERT else f"{method}, its reward",
                show(metric(record, "return"), 1),
                show(metric(record, "greedy_return"), 1),
                "-" if theirs is None else f"{theirs:.1f}",
                f"{record['steps']:,}",
            )
        )
    return markdown_table(("", "return", "return, greedy actions", "published", "steps"), rows)


def _curves(table: Records, folder: Path) -> str:
    """Draws the curves there are; returns the path relative to the page, empty if there is no picture."""
    lines = {
        method: (curve.steps, curve.values)
        for method in METHODS
        if (curve := curve_of(table.get(HEALTHY, method))) is not None
    }
    if lines:
        figures.curves({("CustomAnt-v0", "return"): lines}, folder / "curves.svg", along="environment steps")
    return f"{folder.name}/curves.svg" if (folder / "curves.svg").exists() else ""
