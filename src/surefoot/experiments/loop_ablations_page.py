"""The page of LOOP's analyses. All of it comes from ``summary.json``; no sentence about a result is
written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from surefoot.experiments import pages
from surefoot.experiments.loop_ablations import (
    AUGMENTED,
    COMPARED,
    EXPERIMENT,
    GAINS,
    HORIZONS,
    MINIBATCHES,
    WHOLE,
    horizon,
)
from surefoot.experiments.loop_benchmark import ACTOR, DIVERGENCE, TASKS, USAGE
from surefoot.experiments.loop_benchmark_page import Runs, comparison, doubted, head, number, returns
from surefoot.experiments.results import Claim, Record, at_least, below

PLAIN = "without CEM-AG"
BOTH = ("LOOP", PLAIN)
NEAR = 0.1
"""CEM-AG's plan is said to be as good as CEM's if what it gains over it is at most this share of what it
gains over the actor's own sequences."""
NO_LESS = 0.9
"""The limit on a fit is said to cost nothing from this share of the mean evaluation without it on."""

# Numbers --------------------------------------------------------------------------------------------


def method_of(task: str, steps: int) -> str:
    """The cell that has that horizon on that task: LOOP itself where it is the task's own."""
    return "LOOP" if TASKS[task].plan_horizon == steps else horizon(steps)


def chance(records: Iterable[Record]) -> float:
    """Actor usage if the actor's sequences are no better than the rest: elites over candidates."""
    options = next((r["options"] for r in records if r["method"] == "LOOP"), {})
    return options.get("elites", 20) / (options.get("population", 100) + options.get("actor_sequences", 5))


# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """What the thesis says of its figures, on every task that has records of them."""
    records = list(records)
    table = Runs(records)
    made = [_closer(table, task) for task in table.tasks(BOTH)]
    made += [_used(table, task, chance(records)) for task in table.tasks(["LOOP"])]
    lengths = [task for task in TASKS if any(table.of(task, horizon(h)) for h in HORIZONS)]
    made += [
        _own_horizon(table, task, h) for h in HORIZONS for task in lengths if method_of(task, h) != "LOOP"
    ]
    made += [_augmentation(table, task) for task in table.tasks([AUGMENTED])]
    compared = table.tasks([COMPARED])
    made += [_no_better(table, task) for task in compared] + [_over_actor(table, task) for task in compared]
    return made + [_limited(table, task) for task in table.tasks([WHOLE])]


def _closer(table: Runs, task: str) -> Claim:
    until = table.until(task, BOTH, DIVERGENCE)
    ours, theirs = (table.mean(task, name, DIVERGENCE, until) for name in BOTH)
    return Claim(
        "CEM-AG lowers the actor divergence (Figure 2.4)",
        task,
        f"{number(ours)} against {number(theirs)} without",
        doubted(below(ours, theirs), table, task, *BOTH),
    )


def _used(table: Runs, task: str, level: float) -> Claim:
    ours = table.mean(task, "LOOP", USAGE)
    return Claim(
        "The actor's sequences are elites more often than by chance (Figure 2.7)",
        task,
        f"{number(ours)} against {level:.2f}",
        doubted(at_least(ours, level), table, task, "LOOP"),
    )


def _own_horizon(table: Runs, task: str, steps: int) -> Claim:
    """The thesis: 5 is best for HalfCheetah, Hopper and InvertedPendulum, 3 for Walker2d."""
    other = method_of(task, steps)
    until = table.until(task, ("LOOP", other))
    ours, theirs = (table.learned(task, name, until) for name in ("LOOP", other))
    own = TASKS[task].plan_horizon
    return Claim(
        "The thesis' horizon (3 for Walker2d, 5 elsewhere) learns as fast as others or faster (Figure 2.6)",
        f"{task}, {own} and {steps}",
        f"{number(ours)} against {number(theirs)}",
        doubted(at_least(ours, theirs), table, task, "LOOP", other),
    )


def _augmentation(table: Runs, task: str) -> Claim:
    until = table.until(task, ("LOOP", AUGMENTED), ACTOR)
    ours, theirs = (table.mean(task, name, ACTOR, until) for name in (AUGMENTED, "LOOP"))
    return Claim(
        "Replay augmentation raises the return of the actor alone (Figure 2.8)",
        task,
        f"{number(ours)} against {number(theirs)} without",
        doubted(below(theirs, ours), table, task, AUGMENTED, "LOOP"),
    )


def _no_better(table: Runs, task: str) -> Claim:
    over_cem, over_actor = (table.mean(task, COMPARED, name) for name in GAINS)
    small = at_least(over_actor, 0.0)
    if over_cem is not None and over_actor is not None:
        bound = NEAR * abs(over_actor.estimate)
        small = at_least(over_cem, -bound) & ~at_least(over_cem, bound)
    return Claim(
        f"CEM-AG's plans are about as good as CEM's: the difference is within {100 * NEAR:g} % of what is "
        "gained over the actor's sequences (Figure 2.9)",
        task,
        f"{number(over_cem)}, of {number(over_actor)}",
        doubted(small, table, task, COMPARED),
    )


def _over_actor(table: Runs, task: str) -> Claim:
    gained = table.mean(task, COMPARED, GAINS[1])
    return Claim(
        "CEM-AG's plans are better than the actor's sequences (Figure 2.9)",
        task,
        number(gained),
        doubted(at_least(gained, 0.0), table, task, COMPARED),
    )


def _limited(table: Runs, task: str) -> Claim:
    until = table.until(task, ("LOOP", WHOLE))
    ours, theirs = (table.learned(task, name, until) for name in ("LOOP", WHOLE))
    return Claim(
        f"Ours: the limit on a fit leaves LOOP {100 * NO_LESS:g} % of its mean evaluation without, or more",
        task,
        f"{number(ours)} against {number(theirs)}",
        doubted(at_least(ours, theirs, NO_LESS), table, task, "LOOP", WHOLE),
    )


# Page -----------------------------------------------------------------------------------------------


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``loop-ablations.md`` and the figures ``loop-ablations/*.svg`` into ``folder``; returns the
    page's path. ``runs`` is not needed."""
    del runs
    folder = Path(folder)
    table, place = Runs(records), folder / EXPERIMENT.name
    found = claims(records)
    level = chance(records)
    lengths = {horizon(h): h for h in HORIZONS}
    band = "Mean and bootstrap band over seeds."
    parts = [
        head(
            records,
            scale,
            EXPERIMENT,
            "What LOOP's parts do",
            "Sikchi 2022, chapter 2, Figures 2.4 and 2.6 to 2.9, which have no printed numbers. The cells "
            "`LOOP` and `without CEM-AG` are those of [the benchmark](loop-benchmark.md).",
        ),
        pages.in_short(found, "tasks"),
        "## Actor divergence\n\n"
        "Distance between the action that the planner took and that of the actor, in the action's unit: mean "
        "over the run.",
        comparison(table, scale, EXPERIMENT, BOTH, lambda task, name: table.mean(task, name, DIVERGENCE)),
        returns(
            table,
            BOTH,
            place / "divergence.svg",
            f"Actor divergence while training (Figure 2.4). {band}",
            name=DIVERGENCE,
            up="actor divergence",
        ),
        "## Horizon\n\nMean evaluation over the run, with plans of so many actions.",
        comparison(
            table,
            scale,
            EXPERIMENT,
            lengths,
            lambda task, name: table.learned(task, method_of(task, lengths[name])),
            alias=lambda task, name: method_of(task, lengths[name]),
        ),
        returns(
            table,
            lengths,
            place / "horizon.svg",
            f"Return of the evaluations, by the actions of a plan (Figure 2.6). {band}",
            alias=lambda task, name: method_of(task, lengths[name]),
        ),
        "## Actor usage\n\n"
        "Share of the actor's sequences that are among the elites, mean over the iterations of CEM and over "
        f"the run; {level:.2f} if they are no better than the rest.",
        comparison(table, scale, EXPERIMENT, ["LOOP"], lambda task, name: table.mean(task, name, USAGE)),
        returns(
            table,
            ["LOOP"],
            place / "usage.svg",
            f"Actor usage while training (Figure 2.7). {band}",
            name=USAGE,
            up="actor usage",
            level=("by chance", level),
        ),
        "## Replay augmentation\n\nReturn of the actor alone, without noise: mean over the run.",
        comparison(
            table, scale, EXPERIMENT, ("LOOP", AUGMENTED), lambda task, name: table.mean(task, name, ACTOR)
        ),
        returns(
            table,
            ("LOOP", AUGMENTED),
            place / "augmentation.svg",
            f"Return of the actor alone (Figure 2.8). {band}",
            name=ACTOR,
            up="return of the actor",
        ),
        "## CEM-AG beside CEM\n\n"
        "Predicted return of CEM-AG's plan, minus that of plain CEM's from the same state, and minus the "
        "mean of the actor's own sequences, under the same noise: mean over the run.",
        comparison(
            table,
            scale,
            EXPERIMENT,
            GAINS,
            lambda task, name: table.mean(task, COMPARED, name),
            alias=lambda task, name: COMPARED,
        ),
        *(
            returns(
                table,
                [COMPARED],
                place / f"{name}.svg",
                f"What CEM-AG's plan gains over {words} (Figure 2.9). {band}",
                name=name,
                up="predicted return",
            )
            for name, words in zip(GAINS, ("that of plain CEM", "the actor's sequences"), strict=True)
        ),
        "## Limit on a fit\n\n"
        "Mean evaluation over the run, with the limit on the minibatches of a fit of the model, and without.",
        comparison(table, scale, EXPERIMENT, ("LOOP", WHOLE), table.learned),
        "Minibatches of a fit without the limit, mean over the run. Nothing else that costs time grows with "
        "the memory.",
        comparison(table, scale, EXPERIMENT, [WHOLE], lambda task, name: table.mean(task, name, MINIBATCHES)),
        returns(table, ("LOOP", WHOLE), place / "fits.svg", f"Return of the evaluations. {band}"),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)
