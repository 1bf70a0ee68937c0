"""The page of the benchmark of f-IRL. Everything is computed from ``summary.json`` and the demonstrations;
no sentence about a result is written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from surefoot.errors import SurefootError
from surefoot.evaluation.statistics import Estimate, bootstrap_iqm
from surefoot.experiments import figures, pages
from surefoot.experiments.firl_benchmark import (
    BC_SPREAD,
    COUNTS,
    EXPERIMENT,
    FRESH,
    IRL,
    METHODS,
    PUBLISHED,
    RATIO,
    TASKS,
    setting,
)
from surefoot.experiments.results import (
    Claim,
    Record,
    Records,
    at_least,
    between,
    markdown_table,
    metric,
    written,
)
from surefoot.experiments.training_metrics import Curve

SETTINGS = {
    "learning_rate": "learning rate of SAC",
    "steps_per_iteration": "steps an iteration",
    "trajectories": "trajectories an iteration",
    "reward_updates": "updates of the reward",
    "ratio_updates": "of the discriminator",
}
"""Settings of f-IRL that the page names -> in words."""

# Numbers --------------------------------------------------------------------------------------------


def expert_return(record: Record | None) -> float | None:
    """Mean return of the demonstrations that a cell used; ``None`` if they are not at hand."""
    from surefoot.data import demonstrations

    if record is None or not record.get("demonstrations"):
        return None
    try:
        found = demonstrations.load(record["demonstrations"])
    except SurefootError:
        return None
    return float(found.returns[: record.get("first")].mean())


def ratio(record: Record | None, value: Estimate | None = None) -> Estimate | None:
    """A return as a share of that of the cell's demonstrations, with their mean taken as known.

    ``value`` is that of the cell's final policy if left out.
    """
    value, expert = value or metric(record, "return"), expert_return(record)
    if value is None or expert is None or expert <= 0:
        return None
    return Estimate(value.estimate / expert, value.lower / expert, value.upper / expert, value.n)


def late_return(record: Record | None) -> Estimate | None:
    """Mean return in the last tenth of the training, as published; ``None`` where no curve was kept."""
    return None if record is None else return_after(record, record["steps"])


def return_after(record: Record | None, steps: int) -> Estimate | None:
    """Mean return of the trajectories that a method learned from in the last tenth of its first ``steps``."""
    curve = curve_of(record)
    if curve is None or not np.isfinite(found := curve.after(steps)).all():
        return None
    return bootstrap_iqm(found[:, None])


def with_share(record: Record, value: Estimate | None) -> str:
    """``2980 [2679, 3137] (0.85)``: a return, and its share of the demonstrations'."""
    share = None if value is None else ratio(record, value)
    return show(value) + (f" ({share.estimate:.2f})" if share else "")


def exactly(value: float) -> Estimate:
    """A published number, of which only the number is known."""
    return Estimate(value, value, value, 0)


def show(value: Estimate | None, digits: int = 0) -> str:
    """``3210 [3100, 3300]``, ``-`` if there is none."""
    return written(value, digits)


# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """Every claim, in every setting that has the records for it."""
    table = Records(records)
    made = []
    for n in COUNTS:
        made += [_reaches(table, task, n) for task in TASKS if table.get(setting(task, n), "FKL f-IRL")]
    for other in ("BC", "f-MAX-RKL"):
        made += [
            _at_least_as_good(table, task, n, other)
            for n in COUNTS
            for task in TASKS
            if table.get(setting(task, n), other)
        ]
    made += [
        _as_good_after_as_many_steps(table, task, n, "f-MAX-RKL")
        for n in COUNTS
        for task in TASKS
        if table.get(setting(task, n), "f-MAX-RKL")
    ]
    for method in ("BC", "AIRL"):
        made += [
            _better_than_published(table, task, n, method)
            for n in COUNTS
            for task in TASKS
            if table.get(setting(task, n), method)
        ]
    return made + [_never_trained(table, task) for task in TASKS if table.get(setting(task, 1), FRESH)]


def _reaches(table: Records, task: str, n: int) -> Claim:
    record = table.get(setting(task, n), "FKL f-IRL")
    assert record is not None
    late, theirs = late_return(record), record["published"]["ratio"]
    ours = ratio(record, late) if late else None
    verdict = at_least(ours, theirs)
    return Claim(
        "FKL f-IRL reaches the published share of the expert's return (mean of the last tenth)",
        _where(task, n),
        f"{show(ours, 2)}; published {theirs:.2f}",
        verdict.among([late.n]) if late else verdict,
    )


def _at_least_as_good(table: Records, task: str, n: int, other: str) -> Claim:
    values = {method: table.metric(setting(task, n), method, "return") for method in ("FKL f-IRL", other)}
    return Claim(
        f"FKL f-IRL is at least as good as {other}",
        _where(task, n),
        "; ".join(f"{method} {show(value)}" for method, value in values.items()),
        at_least(values["FKL f-IRL"], values[other]).among(_seeds(table, task, n, *values)),
    )


def _as_good_after_as_many_steps(table: Records, task: str, n: int, other: str) -> Claim:
    records = {method: table.get(setting(task, n), method) for method in ("FKL f-IRL", other)}
    steps = min(record["steps"] for record in records.values() if record is not None)
    values = {method: return_after(record, steps) for method, record in records.items()}
    verdict = at_least(values["FKL f-IRL"], values[other])
    return Claim(
        f"FKL f-IRL is at least as good as {other} after as many steps",
        _where(task, n),
        f"after {steps:,}: " + "; ".join(f"{method} {show(value)}" for method, value in values.items()),
        verdict.among(value.n for value in values.values() if value is not None),
    )


def _better_than_published(table: Records, task: str, n: int, method: str) -> Claim:
    ours = table.metric(setting(task, n), method, "return")
    theirs = PUBLISHED[task][method][COUNTS.index(n)]
    return Claim(
        f"{method} done right is better than the published {method}",
        _where(task, n),
        f"{show(ours)}; published {theirs:.0f}",
        at_least(ours, theirs).among(_seeds(table, task, n, method)),
    )


def _never_trained(table: Records, task: str) -> Claim:
    ours, theirs = table.metric(setting(task, 1), FRESH, "return"), PUBLISHED[task]["BC"][0]
    spread = 2 * BC_SPREAD[task]
    return Claim(
        "An untrained network returns within two standard deviations of the published BC",
        TASKS[task].title,
        f"untrained {show(ours, 1)}; published BC {theirs:.1f} +- {BC_SPREAD[task]:.1f}",
        between(ours, theirs - spread, theirs + spread),
    )


def _seeds(table: Records, task: str, n: int, *methods: str) -> list[int]:
    """How many of each method."""
    found = (table.get(setting(task, n), method) for method in methods)
    return [0 if record is None else len(record["seeds"]) for record in found]


def _where(task: str, n: int) -> str:
    return f"{TASKS[task].title}, {n} trajector{'y' if n == 1 else 'ies'}"


# Page -----------------------------------------------------------------------------------------------

CAPTION = (
    "Return of the trajectories that a method learns from against environment steps, with one trajectory of "
    "the expert. The black line is zero."
)


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``firl-benchmark.md`` and its figure into ``folder``; returns the page's path.

    ``runs`` is not needed: everything is in the records.
    """
    del runs
    folder = Path(folder)
    table = Records(records)
    drawn = _curves(table, folder / EXPERIMENT.name)
    found = claims(records)
    parts = [
        _head(records, scale),
        pages.in_short(found, "bodies and numbers of trajectories"),
        "## Returns\n\n"
        "Ours: the final policy with sampled actions, by the environment's own reward; interval: bootstrap "
        "over seeds and episodes, so with one seed it speaks of that policy alone. In brackets behind it the "
        "share of the mean return of the demonstrations. Last tenth: mean, over the last tenth of the run, "
        "of the trajectories that the method learned from. Published: the same mean, three seeds, with its "
        "share of the published expert's return.",
        *(_table(table, task) for task in TASKS),
        _untrained(table),
        pages.image(drawn, CAPTION) if drawn else "",
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def extent(records: Sequence[Record], scale: str) -> str:
    """What the pages on the four bodies say of scale, cut and networks."""
    trained = [record for record in records if record["steps"]]
    networks = sorted({" x ".join(map(str, record["options"]["hidden"])) for record in trained})
    return (
        f"Scale: `{scale}`, {len(records)} cells, {pages.span(len(r['seeds']) for r in trained)} seed(s) of "
        f"each that is trained. Hidden layers of SAC and BC: {', '.join(networks)} (the paper's text has "
        "64 x 64, its code 256 x 256). What a scale cuts stands at the head of "
        "`src/surefoot/experiments/firl_benchmark.py`; steps are in the tables." + _settings(records)
    )


def _settings(records: Sequence[Record]) -> str:
    """Where text, code and cells of f-IRL differ, in a sentence."""
    options = [record["options"] for record in records if record["algorithm"] == "firl"]
    if not options:
        return ""
    code = {**IRL, **RATIO}
    words = [
        f"{label} {' or '.join(f'{x:,g}' for x in sorted({o[name] for o in options}))} ({code[name]:,g})"
        for name, label in SETTINGS.items()
    ]
    return (
        f" f-IRL, in brackets the published code: {'; '.join(words)}. The paper's text has a learning rate "
        "of 0.003 and ten episodes an iteration."
    )


def _head(records: Sequence[Record], scale: str) -> str:
    return pages.head(
        EXPERIMENT,
        "f-IRL and others from a few trajectories",
        "Paper: Ni et al. 2020, *f-IRL: inverse reinforcement learning via state marginal matching*, "
        "[arXiv 2011.04709](https://arxiv.org/abs/2011.04709); Tables 3.3, 3.7 and 3.8 of its thesis "
        "version.",
        "Our experts are not the paper's, and neither are the simulator's and the environments' versions, so "
        "compare shares of the expert's return rather than returns.",
        "Two of the published rows came from defects. BC was trained in batches of 1000 pairs of which only "
        "full ones counted, so one trajectory of 999 pairs trained nothing, and its likelihood was not that "
        "of the squashed action. AIRL used a wrong log-density of actions and one update in 500 to 1000 "
        "steps. Here both are done right and stand beside the published numbers. AIRL is trained where falls "
        "are absorbing; where they end the episode, as for the other methods, it learned to fall at once.",
        extent(records, scale),
        records=records,
        scale=scale,
    )


def _table(table: Records, task: str) -> str:
    rows = []
    for method in METHODS:
        for n in COUNTS:
            record = table.get(setting(task, n), method)
            if record is None:
                continue
            published = record["published"]
            found = (metric(record, "return"), late_return(record))
            final, late = (with_share(record, value) for value in found)
            theirs = f"{published['return']:.0f} ({published['ratio']:.2f})"
            greedy = show(metric(record, "greedy_return"))
            rows.append((method, str(n), final, late, theirs, greedy, f"{record['steps']:,}"))
    if not rows:
        return ""
    experts = {n: value for n in COUNTS if (value := _expert(table, task, n)) is not None}
    for n, value in experts.items():
        theirs = TASKS[task].expert[COUNTS.index(n)]
        rows.append(("expert", str(n), f"{value:.0f}", "", f"{theirs:.0f}", "", ""))
    head = ("method", "trajectories", "return (share)", "last tenth", "published", "greedy actions", "steps")
    return f"### {TASKS[task].title}\n\n" + markdown_table(head, rows)


def _expert(table: Records, task: str, n: int) -> float | None:
    found = [expert_return(table.get(setting(task, n), method)) for method in METHODS]
    return next((value for value in found if value is not None), None)


def _untrained(table: Records) -> str:
    rows = [
        (
            TASKS[task].title,
            show(metric(record, "return"), 1),
            f"{PUBLISHED[task]['BC'][0]:.1f} +- {BC_SPREAD[task]:.1f}",
            show(table.metric(setting(task, 1), "BC", "return"), 1),
        )
        for task in TASKS
        if (record := table.get(setting(task, 1), FRESH))
    ]
    if not rows:
        return ""
    head = ("body", "untrained networks", "published BC", "our BC")
    return "### BC from one trajectory, and networks that were never trained\n\n" + markdown_table(head, rows)


def _curves(table: Records, folder: Path) -> str:
    """Draws the curves there are; returns the path relative to the page, empty if there is no picture."""
    lines = {
        (TASKS[task].title, "return"): {
            method: (curve.steps, curve.values)
            for method in METHODS
            if (curve := curve_of(table.get(setting(task, 1), method))) is not None
        }
        for task in TASKS
    }
    known = {key: methods for key, methods in lines.items() if methods}
    if known:
        figures.curves(known, folder / "curves.svg", along="environment steps")
    return f"{folder.name}/curves.svg" if (folder / "curves.svg").exists() else ""


def curve_of(record: Record | None) -> Curve | None:
    """The return against steps, of a record that has it."""
    found = (record or {}).get("curves", {}).get("return")
    return None if found is None else Curve.from_dict(found)
