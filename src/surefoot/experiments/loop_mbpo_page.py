"""The page of LOOP beside MBPO. All of it comes from ``summary.json``; no sentence about a result is
written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import pages
from surefoot.experiments.loop_benchmark_page import Runs, comparison, doubted, faster, head, number, returns
from surefoot.experiments.loop_mbpo import EXPERIMENT, MATCHED, METHODS, PLANNING, RIVAL
from surefoot.experiments.results import Claim, Record, at_least

SHARE = 2 / 3
"""Two returns are said to be comparable if neither is below this share of the other."""

SHOWN = (*METHODS, MATCHED)

# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """What the thesis says of its figure, on every task that has records: both are comparable. And what more
    updates give LOOP."""
    table = Runs(records)
    tasks = table.tasks(METHODS)
    made = []
    for what, words in (("learned", "mean evaluation over the same steps"), ("end", "return at the end")):
        for ours, theirs in (METHODS, METHODS[::-1]):
            made += [_close(table, task, ours, theirs, what, words) for task in tasks]
    text = f"Ours: with as many updates as MBPO, {PLANNING}'s mean evaluation is higher than with one a step"
    return made + [faster(table, task, MATCHED, PLANNING, text) for task in tasks if table.of(task, MATCHED)]


def _close(table: Runs, task: str, method: str, rival: str, what: str, words: str) -> Claim:
    until = table.until(task, METHODS)

    def ask(name: str) -> Estimate | None:
        return table.learned(task, name, until) if what == "learned" else table.end(task, name)

    ours, theirs = ask(method), ask(rival)
    # A share of a loss says nothing; whoever is not below zero then is at least as good.
    share = SHARE if theirs is not None and theirs.estimate > 0 else 1.0
    return Claim(
        f"{method}'s {words} is at least {100 * SHARE:.0f} % of {rival}'s",
        task,
        f"{number(ours)} against {number(theirs)}",
        doubted(at_least(ours, theirs, share), table, task, PLANNING, RIVAL),
    )


# Page -----------------------------------------------------------------------------------------------

CAPTION = "Return of the evaluations while training (Figure 2.3). Mean and bootstrap band over seeds."


def updates(scale: str) -> str:
    """Gradient updates a step of MBPO's cells, in words."""
    made = {cell.options["updates_per_step"] for cell in EXPERIMENT.cells(scale) if cell.method == RIVAL}
    return pages.span(round(number) for number in made)


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``loop-mbpo.md`` and ``loop-mbpo/returns.svg`` into ``folder``; returns the page's path.
    ``runs`` is not needed."""
    del runs
    folder = Path(folder)
    table = Runs(records)
    found = claims(records)
    parts = [
        head(
            records,
            scale,
            EXPERIMENT,
            "LOOP beside MBPO",
            "Sikchi 2022, chapter 2, Figure 2.3, which has no printed numbers: LOOP with SAC inside, and "
            "MBPO by its authors' program, which makes 10 to 40 gradient updates a step, LOOP one. "
            f"Here it makes {updates(scale)}. In {MATCHED!r}, which is ours, LOOP makes as many.",
        ),
        pages.in_short(found, "tasks"),
        "## Learning curves",
        returns(table, SHOWN, folder / EXPERIMENT.name / "returns.svg", CAPTION),
        "## How fast they learn\n\nMean evaluation over the run, which is the area under its curve.",
        comparison(table, scale, EXPERIMENT, SHOWN, table.learned),
        "## Where they end\n\nReturn of the last policies: LOOP-SAC plans, MBPO's actor acts without noise.",
        comparison(table, scale, EXPERIMENT, SHOWN, table.end),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)
