"""The page of the prior experiment of f-IRL. Numbers come from ``summary.json``; the pictures of the rewards
from the run folders. No sentence about a result is written by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from surefoot.errors import SurefootError
from surefoot.evaluation.statistics import Estimate
from surefoot.experiments import figures, pages
from surefoot.experiments.firl_prior import (
    EXPERIMENT,
    GRID,
    METHODS,
    NO_PRIOR,
    REWARD,
    SIZE,
    setting,
)
from surefoot.experiments.results import (
    UNKNOWN,
    Claim,
    Record,
    Records,
    Verdict,
    at_most,
    below,
    markdown_table,
    metric,
    show,
)

VISIBLE = 0.05
"""Of a return: less more than that is no gain."""
DISTRACTED = 2.4
"""The most that the distracting goals pay in an episode of 29 steps: 24 times 0.1."""

# Claims ---------------------------------------------------------------------------------------------


def claims(records: Iterable[Record]) -> list[Claim]:
    """Every claim, at every temperature that has records."""
    table = Records(records)
    alphas, weights = _axes(table)
    made = [_fails(table, alpha) for alpha in alphas]
    return made + [_helps(table, method, alpha, weights) for method in _tried(table) for alpha in alphas]


def _fails(table: Records, alpha: float) -> Claim:
    plain = table.metric(setting(alpha, 0.0), NO_PRIOR, "return")
    return Claim(
        f"Plain SAC fails: its return is at most what the distracting goals pay ({DISTRACTED:g})",
        f"alpha = {alpha:g}",
        show("return", plain),
        at_most(plain, DISTRACTED),
    )


def _helps(table: Records, method: str, alpha: float, weights: Sequence[float]) -> Claim:
    plain = table.metric(setting(alpha, 0.0), NO_PRIOR, "return")
    found = {w: table.metric(setting(alpha, w), method, "return") for w in weights}
    known = {w: value for w, value in found.items() if value is not None}
    text, verdict = "-", UNKNOWN
    if known and plain is not None:
        best = max(known, key=lambda w: known[w].estimate)
        text = f"{show('return', known[best])} at w = {best:g}; without {show('return', plain)}"
        # The best of several would often win by chance, by digits that mean nothing.
        shown_more = known[best].estimate - plain.estimate > VISIBLE
        verdict = below(plain, known[best]) if shown_more else Verdict(False)
    return Claim(
        f"{method} as prior, with the best of the weights, brings more return than plain SAC (by over "
        f"{VISIBLE:g})",
        f"alpha = {alpha:g}",
        text,
        verdict,
    )


def _tried(table: Records) -> list[str]:
    """Methods whose reward was tried as prior; all, where none was."""
    tried = {record["method"] for record in table.group(GRID)}
    return [method for method in METHODS if method in tried] or list(METHODS)


def _axes(table: Records) -> tuple[list[float], list[float]]:
    """Temperatures and weights of the grid that there are records for; zero, no prior, is left out."""
    places = [_place(record) for record in table.group(GRID)]
    return sorted({alpha for alpha, _ in places}), sorted({w for _, w in places if w})


def _place(record: Record) -> tuple[float, float]:
    prior = record.get("takes", {}).get("prior", {"weight": 0.0})
    return record["options"]["alpha"], prior["weight"]


# Page -----------------------------------------------------------------------------------------------

FIGURES = {
    "rewards": "The recovered rewards over the room; the agent starts in the lower left corner. A panel a "
    "method and seed; the rank correlation is that of the reward and the distance from the start. The first "
    "seed is used as prior.",
    "return": "Return on the task by weight of the prior and temperature. The column w = 0 is plain SAC, the "
    "same in all panels.",
}


def write(records: Sequence[Record], scale: str, folder: str | Path, runs: str | Path | None = None) -> Path:
    """Writes ``firl-prior.md`` and the figures ``firl-prior/*.svg`` into ``folder``; returns the page's path.

    ``runs`` is the folder of the run folders, which hold the rewards; without it their picture is left as it
    is.
    """
    folder = Path(folder)
    table = Records(records)
    drawn = _figures(table, folder / EXPERIMENT.name, None if runs is None else Path(runs))
    found = claims(records)
    parts = [
        _head(records, scale),
        pages.in_short(found, "temperatures"),
        "## Rewards\n\n" + _rewards(table),
        pages.shown(drawn, FIGURES, "rewards"),
        "## Return on the task\n\n"
        + "Mean over episodes of the final policy, sampled actions; interval: bootstrap over seeds and "
        + "episodes. The goal pays at most about 24. Success: share of all episodes; in brackets how many "
        + "seeds succeed in more than half of theirs. A seed nearly always does or nearly never.",
        *(_grid(table, method, name) for name in ("return", "success") for method in _tried(table)),
        pages.shown(drawn, FIGURES, "return"),
        pages.every_verdict(found),
        pages.make_again(EXPERIMENT, records, scale),
    ]
    return pages.save(EXPERIMENT, folder, parts)


def _head(records: Sequence[Record], scale: str) -> str:
    grid = [record for record in records if record["group"] == GRID]
    return pages.head(
        EXPERIMENT,
        "A recovered reward as prior",
        "Paper: Ni et al. 2020, *f-IRL: inverse reinforcement learning via state marginal matching*, "
        "[arXiv 2011.04709](https://arxiv.org/abs/2011.04709); Figure 3.4 of its thesis version, which has "
        "no printed numbers.",
        "A reward r(s) is recovered from the uniform density in a room of 6 x 6. Then SAC is trained from "
        "scratch on a task in the same room: 1 a step in the far corner, 0.1 in two others, 0 elsewhere. The "
        "reward is added as potential-based shaping, w (0.99 r(s') - r(s)), which does not change what is "
        "best. It is that of the last epoch and the first seed: nothing was chosen by the task's return. "
        "f-MAX and GAIL, in the paper's figure, are not here: what their runs learn is no reward of its own.",
        f"Scale: `{scale}`, {len(records)} cells; {pages.span(len(r['seeds']) for r in grid)} seeds and "
        f"{pages.span(r['steps'] for r in grid)} steps of SAC a cell of the grid. The paper's figure has "
        "seven weights and seven temperatures from 0.01 to 0.3 and one seed.",
        records=records,
        scale=scale,
    )


def _rewards(table: Records) -> str:
    rows = []
    for method in METHODS:
        record = table.get(REWARD, method)
        if record is not None:
            ends = [show("kl", metric(record, name)) for name in ("forward_kl", "reverse_kl")]
            rows.append((method, *ends, f"{record['steps']:,}", str(len(record["seeds"]))))
    head = ("method", "forward KL", "reverse KL", "steps a seed", "seeds")
    about = "How near the policies of the recovery came to the uniform density: KL in nats, mean over the "
    about += "last tenth of the epochs.\n\n"
    return about + markdown_table(head, rows)


def _grid(table: Records, method: str, name: str) -> str:
    alphas, weights = _axes(table)
    rows = []
    for alpha in alphas:
        places = [(setting(alpha, 0.0), NO_PRIOR), *((setting(alpha, w), method) for w in weights)]
        shown = (
            solved(table.get(*p)) if name == "success" else show(name, table.metric(*p, name)) for p in places
        )
        rows.append((f"{alpha:g}", *shown))
    if not rows:
        return ""
    head = ("alpha", "w = 0", *(f"w = {w:g}" for w in weights))
    return f"### {name.capitalize()}, {method} as prior\n\n" + markdown_table(head, rows)


def solved(record: Record | None) -> str:
    """``30 % (3 of 10)``: share of the episodes that succeed, and how many seeds mostly do."""
    rates = (record or {}).get("per_seed", {}).get("success")
    if not rates:
        return "-"
    return f"{100 * np.mean(rates):.0f} % ({sum(rate > 0.5 for rate in rates)} of {len(rates)})"


# Figures --------------------------------------------------------------------------------------------


def _figures(table: Records, folder: Path, runs: Path | None) -> dict[str, str]:
    """Draws what there are numbers for; returns paths relative to the page."""
    alphas, weights = _axes(table)
    if alphas and weights:
        panels = {
            method: np.array([[_value(table, method, alpha, w) for w in (0.0, *weights)] for alpha in alphas])
            for method in _tried(table)
        }
        across = ("weight w", [f"{w:g}" for w in (0.0, *weights)])
        up = ("temperature alpha", [f"{alpha:g}" for alpha in alphas])
        figures.heat_maps(panels, folder / "return.svg", across=across, up=up, label="return")
    found = {
        (f"{method}, seed {seed}", f"rank correlation {correlation(values):.2f}"): values
        for method in METHODS
        if runs and (record := table.get(REWARD, method))
        for seed in record["seeds"]
        if (values := values_of(runs / record["cell"], seed)) is not None
    }
    all_of_them = sum(len(record["seeds"]) for m in METHODS if (record := table.get(REWARD, m)))
    if pages.worth_drawing(folder / "rewards.svg", len(found), all_of_them):
        figures.fields(found, (0.0, SIZE, 0.0, SIZE), folder / "rewards.svg")
    return pages.pictures(folder, FIGURES)


def _value(table: Records, method: str, alpha: float, weight: float) -> float:
    found: Estimate | None = table.metric(setting(alpha, weight), method if weight else NO_PRIOR, "return")
    return math.nan if found is None else found.estimate


CELLS = 100
"""Of the grid over the room, each way, at whose middles a reward is looked at."""


def places() -> np.ndarray:
    """``[y, x, 2]``: the middle of each cell."""
    middle = (np.arange(CELLS) + 0.5) / CELLS * SIZE
    return np.stack(np.meshgrid(middle, middle), axis=-1).astype(np.float32)


def values_of(run: Path, seed: int) -> np.ndarray | None:
    """The reward ``[y, x]`` over the room; ``None`` if the run is not there."""
    from surefoot.training.reward_io import load_reward

    try:
        return np.asarray(load_reward(run, seed)(places()))
    except SurefootError:
        return None


def correlation(values: np.ndarray) -> float:
    """Spearman's rank correlation of ``[y, x]`` with the distance from the start."""
    from scipy.stats import rankdata

    distance = np.linalg.norm(places(), axis=-1)
    return float(np.corrcoef(rankdata(values.ravel()), rankdata(distance.ravel()))[0, 1])
