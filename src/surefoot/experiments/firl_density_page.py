"""The page of the density experiment of f-IRL. Everything is computed from ``summary.json``, and the
picture of where the agents go from the run folders; no sentence about a result is written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.errors import SurefootError
from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import figures, pages
from surefoot.experiments.firl_density import (
    BESIDE,
    EXPERIMENT,
    FORWARD,
    METHODS,
    REVERSE,
    SETTINGS,
    STEPS_PER_EPOCH,
    Setting,
)
from surefoot.experiments.results import (
    UNKNOWN,
    Claim,
    Record,
    Records,
    at_most,
    markdown_table,
    metric,
    written,
)
from surefoot.experiments.training_metrics import Curve

NAMES = {FORWARD: "forward KL", REVERSE: "reverse KL"}
NEAR_ZERO = 0.2
"""Nats. As much as between two Gaussians in the plane whose means are 0.63 standard deviations apart."""
SHOWN = tuple(method for method in METHODS if method not in BESIDE)
"""Methods of the paper's figures."""
ARM = ("reacher-gaussian", "reacher-mixture")
DOT = "point-mass"

# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """Every claim, in every setting that has records."""
    table = Records(records)
    arm = [name for name in ARM if any(table.get(name, method) for method in SHOWN)]
    made = [_lowest(table, name, "FKL f-IRL", FORWARD) for name in arm]
    made += [_lowest(table, name, "JS f-IRL", REVERSE) for name in arm]
    return made + [_near_zero(table, method) for method in SHOWN if table.get(DOT, method)]


def _lowest(table: Records, setting: str, method: str, name: str) -> Claim:
    ours = table.metric(setting, method, name)
    others = {m: table.metric(setting, m, name) for m in SHOWN if m != method}
    known = {m: value for m, value in others.items() if value is not None}
    verdicts = [at_most(ours, value) for value in known.values()]
    verdict = verdicts[0] if verdicts else UNKNOWN
    for each in verdicts[1:]:
        verdict &= each
    text = show(ours)
    if known:
        best = min(known, key=lambda m: known[m].estimate)
        text += f"; lowest of the others: {best} {show(known[best])}"
    missing = [m for m in others if m not in known]
    if missing:
        text += f"; not measured: {', '.join(missing)}"
    return Claim(f"The arm: {method} has the lowest {NAMES[name]} of all methods", setting, text, verdict)


def _near_zero(table: Records, method: str) -> Claim:
    both = {label: table.metric(DOT, method, name) for name, label in NAMES.items()}
    first, second = (at_most(value, NEAR_ZERO) for value in both.values())
    return Claim(
        f"The dot: every method comes near zero (both KL at most {NEAR_ZERO:g} nats)",
        f"{DOT}, {method}",
        "; ".join(f"{label} {show(value)}" for label, value in both.items()),
        first & second,
    )


def show(value: Estimate | None) -> str:
    """``0.512 [0.498, 0.530]``, ``-`` if there is none."""
    return written(value, 3)


# Page -----------------------------------------------------------------------------------------------

FIGURES = {
    "curves": "KL in nats against epochs: mean over seeds, with a bootstrap band. Above the forward KL, "
    "which is large where the expert goes and the agent does not; below the reverse KL, which is large where "
    "the agent goes and the expert does not.",
    "states": "Where the trained agents go: states of 30 episodes a seed, a colour a seed, over the lines of "
    "equal density. A row a setting, a column a method; a method whose runs were not at hand is left out.",
}


_ABOUT_TABLES = (
    "Mean over the last tenth of the epochs, in nats. The interval is a bootstrap over seeds, so with three "
    "seeds it is about their range. *At the start* is the first point of the curve. An estimate by nearest "
    "neighbours can come out below zero."
)


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``firl-density.md`` and the figures ``firl-density/*.svg`` into ``folder``.

    ``runs`` is the folder of the run folders, which hold where the agents went. A run that is not there
    leaves its place in that picture empty; without any the picture is left as it is. Returns the page's
    path.
    """
    folder = Path(folder)
    table = Records(records)
    drawn = _figures(table, folder / EXPERIMENT.name, None if runs is None else Path(runs))
    found = claims(records)
    parts = [
        _head(records, scale),
        pages.in_short(found, "settings, or methods"),
        "## KL at the end\n\n" + _ABOUT_TABLES,
        *(_table(table, setting) for setting in SETTINGS),
        *(pages.image(path, FIGURES[name]) for name, path in drawn.items()),
        _warnings(records),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def _head(records: Sequence[Record], scale: str) -> str:
    networks = sorted({_network(record) for record in records})
    return pages.head(
        EXPERIMENT,
        "f-IRL and others brought to a state density",
        "Paper: Ni et al. 2020, *f-IRL: inverse reinforcement learning via state marginal matching*, "
        "[arXiv 2011.04709](https://arxiv.org/abs/2011.04709); Figures 3.2, 3.6 and 3.7 of its thesis "
        "version. These figures come without numbers, so what can be set beside ours is what is said of "
        f"them. {' and '.join(BESIDE)} are not in them, and the verdicts are without these two. FAIRL pays "
        "-D exp(D) for a logit D of the density ratio: 1/e at most, and without bound below nothing where "
        "the expert is more often than the agent, which therefore flees from there.",
        "An agent without reward is given a density over positions, and trained so that it is found there as "
        f"often as the density says. An epoch is {STEPS_PER_EPOCH} steps and as many updates of SAC. The KL "
        "divergences are between 10,000 draws from the density and the states of 1000 episodes, by the "
        "distances to third neighbours; those of the arm are to the density cut off at its reach. At scale "
        "`smoke` there are fewer of both.",
        f"Scale: `{scale}`, {len(records)} cells, {pages.span(_epochs(r) for r in records)} epochs (the "
        f"paper has 800), {pages.span(len(r['seeds']) for r in records)} seeds a cell. Hidden layers of SAC: "
        f"{', '.join(networks)} (the paper's text has 64 x 64, its code 256 x 256).",
        records=records,
        scale=scale,
    )


def _network(record: Record) -> str:
    return " x ".join(map(str, record["options"].get("hidden", (64, 64))))


def _epochs(record: Record) -> int:
    return record["steps"] // STEPS_PER_EPOCH


def _table(table: Records, setting: str) -> str:
    about = SETTINGS[setting]
    rows = []
    for method in METHODS:
        record = table.get(setting, method)
        if record is None:
            continue
        ends = [show(metric(record, name)) for name in NAMES]
        starts = [_start(record, name) for name in NAMES]
        rows.append((method, *ends, *starts, str(_epochs(record)), str(len(record["seeds"]))))
    if not rows:
        return ""
    labels = list(NAMES.values())
    head = ("method", *labels, *(f"{label} at the start" for label in labels), "epochs", "seeds")
    return f"### {setting}\n\n{about.title}: `{about.environment}`, `{about.density}`\n\n" + markdown_table(
        head, rows
    )


def _start(record: Record, name: str) -> str:
    curve = _curve(record, name)
    return "-" if curve is None else f"{np.mean(curve.values[:, 0]):.2f}"


def _curve(record: Record, name: str) -> Curve | None:
    found = record.get("curves", {}).get(name)
    return None if found is None else Curve.from_dict(found)


def _warnings(records: Sequence[Record]) -> str:
    rows = [(record["cell"], warning) for record in records for warning in record.get("warnings", ())]
    return "## Signs of failure\n\n" + markdown_table(("cell", "warning"), rows) if rows else ""


# Figures --------------------------------------------------------------------------------------------


def _figures(table: Records, folder: Path, runs: Path | None) -> dict[str, str]:
    """Draws what there are numbers for; returns paths relative to the page."""
    lines = {
        (SETTINGS[setting].title, label): {
            method: (curve.steps / STEPS_PER_EPOCH, curve.values)
            for method in METHODS
            if (record := table.get(setting, method)) and (curve := _curve(record, name))
        }
        for setting in SETTINGS
        for name, label in NAMES.items()
    }
    if any(lines.values()):
        figures.curves(lines, folder / "curves.svg", along="epoch")
    records = {(s, m): table.get(s, m) for s in SETTINGS for m in METHODS}
    points = {
        (setting, method): found
        for (setting, method), record in records.items()
        if runs and record and (found := states(runs / record["cell"], SETTINGS[setting])) is not None
    }
    if pages.worth_drawing(folder / "states.svg", len(points), sum(r is not None for r in records.values())):
        _draw_states(points, folder / "states.svg")
    return pages.pictures(folder, FIGURES)


def states(run: Path, setting: Setting) -> np.ndarray | None:
    """Positions ``[seeds, points, 2]`` in the evaluation's episodes, without the first of each episode.

    ``None`` if the run is not there or was not evaluated.
    """
    from surefoot.evaluation.episodes import read_tables

    try:
        paths = read_tables(run / "rollouts.npz")[""].paths
    except (SurefootError, KeyError):
        return None
    positions = paths[:, :, 1:, list(setting.indices)]
    return positions.reshape(len(paths), -1, len(setting.indices))


def _draw_states(points: Mapping[tuple[str, str], np.ndarray], path: Path) -> None:
    names = [name for name in SETTINGS if any(setting == name for setting, _ in points)]
    methods = [method for method in METHODS if any(m == method for _, m in points)]
    panels: dict[tuple[str, str], Any] = {
        (SETTINGS[name].title, method): points.get((name, method)) for name in names for method in methods
    }
    grids = {SETTINGS[name].title: (SETTINGS[name].extent, _density(SETTINGS[name])) for name in names}
    figures.states(panels, grids, path)


def _density(setting: Setting, cells: int = 120) -> np.ndarray:
    """The density ``[y, x]`` in the middle of each cell of a grid over the setting's extent."""
    import jax.numpy as jnp

    from surefoot.numerics.density_text import density_of

    left, right, low, high = setting.extent
    middle = (np.arange(cells) + 0.5) / cells
    x, y = np.meshgrid(left + (right - left) * middle, low + (high - low) * middle)
    at = np.stack([x, y], axis=-1).reshape(-1, 2)
    return np.exp(np.asarray(density_of(setting.density).log_prob(jnp.asarray(at, jnp.float32)))).reshape(
        cells, cells
    )
