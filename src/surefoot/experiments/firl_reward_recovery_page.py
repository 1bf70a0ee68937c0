"""The page on what recovered rewards are worth. Everything is computed from ``summary.json`` and the
demonstrations; no sentence about a result is written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import pages
from surefoot.experiments.firl_benchmark import TASKS
from surefoot.experiments.firl_benchmark_page import expert_return, extent, show
from surefoot.experiments.firl_reward_recovery import (
    EXPERIMENT,
    METHODS,
    RETRAINED,
    published,
    setting,
)
from surefoot.experiments.results import Claim, Record, Records, at_least, markdown_table, metric

# Numbers --------------------------------------------------------------------------------------------


def source(table: Records, record: Record | None) -> Record | None:
    """The record of the cell whose reward this one was trained on."""
    name = (record or {}).get("source")
    return next((other for other in table.all if other["cell"] == name), None)


def ratio(table: Records, record: Record | None, name: str) -> Estimate | None:
    """A return as a share of that of the demonstrations which the reward was learned from."""
    value, expert = metric(record, name), expert_return(source(table, record))
    if value is None or expert is None or expert <= 0:
        return None
    return Estimate(value.estimate / expert, value.lower / expert, value.upper / expert, value.n)


# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """Every claim, for every reward that was tried."""
    table = Records(records)
    tried = [
        (task, method, record)
        for task in TASKS
        for method in METHODS
        if (record := table.get(setting(task), method)) is not None
    ]
    made = [_reaches(table, *each) for each in tried if published(each[0], each[1]) is not None]
    return made + [_as_good_as_its_policy(table, *each) for each in tried]


def _reaches(table: Records, task: str, method: str, record: Record) -> Claim:
    ours, theirs = ratio(table, record, "greedy_return"), published(task, method)
    return Claim(
        "A policy trained on the learned reward reaches the published share of the expert's return",
        f"{TASKS[task].title}, {method}",
        f"{show(ours, 2)}; published {theirs:.2f}",
        at_least(ours, theirs).among([len(record["seeds"])]),
    )


def _as_good_as_its_policy(table: Records, task: str, method: str, record: Record) -> Claim:
    ours, first = metric(record, "return"), metric(source(table, record), "return")
    return Claim(
        "The new policy has at least 90 % of the return of the one that came with the reward",
        f"{TASKS[task].title}, {method}",
        f"new {show(ours)}; the one that came with it {show(first)}",
        at_least(ours, first, 0.9).among([len(record["seeds"])]),
    )


# Page -----------------------------------------------------------------------------------------------


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``firl-reward-recovery.md`` into ``folder``; returns its path. ``runs`` is not needed."""
    del runs
    table = Records(records)
    found = claims(records)
    parts = [
        _head(records, scale),
        pages.in_short(found, "bodies and methods"),
        "## Returns\n\n"
        "By the environment's own reward; interval: bootstrap over seeds and episodes, so with one seed it "
        "speaks of that policy alone. The share is of the mean return of the demonstration. The paper tests "
        "without sampling actions, and prints for f-IRL the mean of its three forms.",
        *(_table(table, task) for task in TASKS),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def _head(records: Sequence[Record], scale: str) -> str:
    new = [record for record in records if record["group"] == RETRAINED]
    return pages.head(
        EXPERIMENT,
        "What the learned rewards are worth",
        "Paper: Ni et al. 2020, *f-IRL: inverse reinforcement learning via state marginal matching*, "
        "[arXiv 2011.04709](https://arxiv.org/abs/2011.04709); Table 3.4 of its thesis version.",
        "A reward is learned from one expert trajectory. Then a policy is trained from scratch by SAC on "
        "this reward alone, and judged by the true one. "
        "**The reward is that of the last iteration and of the first seed.** The published code chose among "
        "rewards that were saved whenever the return by the true reward set a record, and does not say which "
        "point of the second training its table quotes; here nothing is chosen by the true reward.",
        f"Steps of SAC on the learned reward: {pages.span(r['steps'] for r in new)} (the code: 1 million for "
        "the Hopper, 3 million for the others).",
        extent(records, scale),
        records=records,
        scale=scale,
    )


def _table(table: Records, task: str) -> str:
    rows = []
    for method in METHODS:
        record = table.get(setting(task), method)
        if record is None:
            continue
        first, share = source(table, record), ratio(table, record, "greedy_return")
        theirs = published(task, method)
        greedy = show(metric(record, "greedy_return")) + (f" ({share.estimate:.2f})" if share else "")
        rows.append(
            (
                method,
                show(metric(first, "return")),
                show(metric(record, "return")),
                greedy,
                "-" if theirs is None else f"{theirs:.2f}",
            )
        )
    if not rows:
        return ""
    head = (
        "reward of",
        "return of the policy that came with it",
        "return of the new policy",
        "with greedy actions (share)",
        "published share",
    )
    return f"### {TASKS[task].title}\n\n" + markdown_table(head, rows)
