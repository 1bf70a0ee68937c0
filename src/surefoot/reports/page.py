"""One page that compares runs: a single HTML file that opens from disk and asks nothing of the network."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.envs import marble_maze_board as geometry
from surefoot.errors import SurefootError
from surefoot.evaluation import evaluate as evaluation_of
from surefoot.evaluation.episodes import DEFINITIONS, EpisodeTable, read_tables
from surefoot.evaluation.evaluate import STARTS, Evaluation, base_name, is_rate, maze_positions, texts
from surefoot.evaluation.statistics import Estimate
from surefoot.reports import plots, video
from surefoot.reports.plots import Look
from surefoot.training.run import Run, atomic_write, write_json

MAZE = "MarbleMaze-v0"
_HEADS = {
    "return": "return",
    "success": "success",
    "violating_episodes": "episodes with a violation",
    "violating_steps_per_episode": "violating steps an episode",
    "way_left": "pass the island on the left",
}
_NAMES = _HEADS | {
    "cvar": "cost of the worst episodes",
    "training_unsafe_epochs": "unsafe epochs while training",
    "training_excess": "cost above the limit while training",
}
_SHARE = 1 / 12  # of the training that a point of a curve is a mean of
_PATHS = 36  # drawn on a board
_FRAMES = 420  # of all animations together, so that the page stays below some ten megabytes


@dataclass(frozen=True)
class Method:
    """A run as the page shows it."""

    label: str
    look: Look
    run: Run
    evaluation: Evaluation
    tables: dict[str, EpisodeTable]
    """By prefix, see ``rollouts.npz``."""
    columns: dict[str, np.ndarray]
    """Of ``metrics.csv``."""

    @property
    def maze(self) -> Mapping[str, Any] | None:
        """Options of the Marble Maze; ``None`` if the run was made elsewhere."""
        world = self.run.config["world"] or {}
        return world.get("options", {}) if world.get("id") == MAZE else None

    def estimate(self, name: str) -> Estimate | None:
        """Of the final evaluation."""
        return self.evaluation.metrics.get(name)


def build(
    runs: Sequence[Run | str | Path],
    out: str | Path,
    title: str = "Comparison",
    intro: str = "",
    *,
    videos: bool = True,
) -> Path:
    """Writes the page ``out`` and ``summary.json`` beside it; returns the path of the page.

    ``runs`` are evaluated runs (``surefoot evaluate``), in the order of the page. ``intro`` is text
    under the title; an empty line separates paragraphs. ``videos=False`` leaves the animations out.
    Raises :class:`SurefootError` if a run is missing, not evaluated or damaged.
    """
    out = Path(out)
    check_page(out)
    methods = load(runs)
    page = _render(_content(methods, title, intro, videos))
    cells = [
        evaluation_of.summary_cell(method.run.config, method.evaluation, method.label) for method in methods
    ]
    atomic_write(out, page.encode())
    write_json(out.parent / "summary.json", cells)
    return out


def check_page(out: Path) -> None:
    """Raises :class:`SurefootError` for what cannot be the name of a page."""
    if out.is_dir():
        raise SurefootError(f"{out} is a folder; give the name of a page, such as {out / 'report.html'}.")
    if out.name == "summary.json":
        raise SurefootError(
            f"{out}: the numbers beside the page have that name; choose another for the page."
        )


def load(runs: Sequence[Run | str | Path]) -> list[Method]:
    """The runs with their labels, looks, evaluations and numbers."""
    if not runs:
        raise SurefootError("There is no run to compare; name at least one run folder.")
    opened = [run if isinstance(run, Run) else Run(run) for run in runs]
    return [
        Method(
            label,
            plots.look(index),
            run,
            evaluation_of.read(run.path),
            read_tables(run.path / "rollouts.npz"),
            run.metrics(),
        )
        for index, (run, label) in enumerate(zip(opened, labels(opened), strict=True))
    ]


def labels(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its algorithm, and what tells it from the other runs of that algorithm.

    That is the settings in which they differ, or the name of the folder where these are none or many.
    """
    names = [run.config["learner"]["name"].rpartition(":")[2] for run in runs]
    settings = [_settings(run) for run in runs]
    found = list(names)
    for name, count in Counter(names).items():
        rows = [row for row, each in enumerate(names) if each == name]
        if count == 1:
            continue
        keys = dict.fromkeys(key for row in rows for key in settings[row])
        differing = [key for key in keys if len({settings[row].get(key, "") for row in rows}) > 1]
        for row in rows:
            words = [f"{key} {settings[row][key]}" for key in differing if key in settings[row]]
            many = len(differing) > 3
            found[row] = f"{name} ({runs[row].path.name if many else ', '.join(words)})"
        if len({found[row] for row in rows}) < count:
            for row in rows:
                found[row] = f"{name} ({runs[row].path.name})"
    twice = {label for label, count in Counter(found).items() if count > 1}
    return [f"{label} {row + 1}" if label in twice else label for row, label in enumerate(found)]


def _settings(run: Run) -> dict[str, str]:
    """Everything that may tell two runs of one algorithm apart, as text, by a name for people."""
    config = run.config
    found: dict[str, Any] = {}

    def flatten(prefix: str, options: Mapping[str, Any]) -> None:
        for key, value in options.items():
            if isinstance(value, Mapping):
                flatten(f"{prefix}{key}.", value)
            else:
                found[prefix + key] = value

    flatten("", config["learner"].get("options") or {})
    world = config["world"] or {}
    flatten("", {"env": world.get("id"), **(world.get("options") or {})})
    found["demonstrations"] = (config.get("demonstrations") or {}).get("source")
    found["steps"] = plots.thousands(config["steps"])
    found["seeds"] = len(config["seeds"])
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


# Content ---------------------------------------------------------------------------------------------


def _render(content: Mapping[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    template = files("surefoot.reports").joinpath("page.html.jinja").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(template).render(content)


def _content(methods: list[Method], title: str, intro: str, videos: bool) -> dict[str, Any]:
    from markupsafe import Markup

    from surefoot import __version__

    learning, safety = _learning(methods), _safety(methods)
    shown = _videos(methods) if videos else []
    boards = _boards(methods)
    prefixes = [prefix for prefix in STARTS if any(m.estimate(f"{prefix}return") for m in methods)]
    evidence = _evidence(methods)
    sections = {
        "results": "Results",
        "evidence": "Evidence of safety" if evidence else "",
        "rollouts": "Rollouts" if shown else "",
        "board": "On the board" if boards else "",
        "learning": "While learning" if learning else "",
        "safety": "Return and safety" if safety else "",
        "meaning": "What the numbers mean",
        "numbers": "All numbers",
        "runs": "How it was made",
    }
    heads = {
        name: head
        for name, head in _HEADS.items()
        if any(method.estimate(prefix + name) for method in methods for prefix in prefixes)
    }
    return {
        "version": __version__,
        "title": title,
        "intro": [paragraph for paragraph in intro.split("\n\n") if paragraph.strip()],
        "sections": [(key, name) for key, name in sections.items() if name],
        "methods": [{"label": m.label} for m in methods],
        "legends": {
            place: [
                (m.label, Markup(plots.key(f"{place}-key-{row}", m.look))) for row, m in enumerate(methods)
            ]
            for place in ("learning", "safety")
        },
        "measured": _measured(methods),
        "several_starts": len(prefixes) > 1,
        "heads": list(heads.values()),
        "rows": _rows(methods, list(heads), prefixes),
        "warnings": _warnings(methods),
        "notes": _notes(methods),
        "evidence": evidence,
        "evidence_about": "Below or above: with 95 % confidence, of the policies that were trained, by the "
        "bounds in brackets (each of them one-sided), or, where the upper one is missing, by the bound for "
        "any distribution in the statements. Not shown: the episodes do not decide it.",
        "statements": [(m.label, each.sentence) for m in methods for each in m.evaluation.evidence],
        "videos": shown,
        "videos_about": f"The first test episode near each corner, the same starts for all, {video.SPEED:g} "
        "times faster than real time. A red frame: a constraint is violated.",
        "boards": boards,
        "boards_about": f"Up to {_PATHS} episodes of each method. Red: steps that violate a constraint. "
        "A cross: the episode ended without success. Dashed: keep-out zones, which no policy sees.",
        "learning": learning,
        "learning_about": "What the policy did while it explored: mean over seeds, smoothed over a twelfth "
        "of the training, with a 95 % bootstrap band over seeds where there are several. A horizontal line "
        "is the final evaluation of a method that takes no environment steps. Red: a limit.",
        "safety": safety,
        "safety_about": "From the final evaluation, with 95 % intervals.",
        "definitions": _definitions(methods),
        "numbers": _numbers(methods),
        "runs": [{"label": m.label, "facts": _facts(m)} for m in methods],
    }


def _measured(methods: Sequence[Method]) -> str:
    """How the numbers of the table came about, in a sentence or two."""
    words = []
    modes = {
        "sample": "actions drawn from the policy",
        "greedy": "the most probable action",
        "both": "actions drawn from the policy, then the most probable ones",
    }
    kinds = {_kind(m.evaluation) for m in methods}
    for seeds, episodes, mode in sorted(kinds):
        who = ""
        if len(kinds) > 1:
            kind = (seeds, episodes, mode)
            who = " and ".join(m.label for m in methods if _kind(m.evaluation) == kind) + ": "
        words.append(
            f"{who}{seeds} seed{'s' * (seeds != 1)} × {episodes} episodes (n = {seeds * episodes} a number), "
            f"{modes[mode]}."
        )
    environments = sorted({m.evaluation.environment for m in methods})
    settings = sorted({evaluation_of.setting_of(m.run.config) for m in methods if m.maze is not None})
    place = f"{', '.join(environments)}{': ' + ', '.join(settings) if settings else ''}. "
    return place + " ".join(words)


def _kind(evaluation: Evaluation) -> tuple[int, int, str]:
    return len(evaluation.seeds), evaluation.episodes, evaluation.mode


def _rows(methods: Sequence[Method], names: Sequence[str], prefixes: Sequence[str]) -> list[dict[str, Any]]:
    best: dict[str, float] = {}
    for name in (prefix + name for prefix in prefixes for name in names):
        values = [m.estimate(name) for m in methods]
        finite = [v.estimate for v in values if v is not None and np.isfinite(v.estimate)]
        if len(methods) > 1 and len(finite) == len(methods) and base_name(name) != "way_left":
            best[name] = (min if base_name(name).startswith("violating") else max)(finite)
    rows = []
    for method in methods:
        mine = [prefix for prefix in prefixes if method.estimate(f"{prefix}return")]
        for index, prefix in enumerate(mine):
            cells = []
            for name in (prefix + name for name in names):
                value = method.estimate(name)
                shown, interval = texts(name, value) if value else ("not measured", "")
                cells.append(
                    {
                        "value": shown,
                        "interval": interval,
                        "best": value is not None and value.estimate == best.get(name),
                    }
                )
            rows.append(
                {
                    "first": index == 0,
                    "label": method.label,
                    "colour": method.look.colour,
                    "starts": evaluation_of.names_of_starts(prefixes)[prefix],
                    "cells": cells,
                }
            )
    return rows


def _evidence(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """One row a method and limit: is the expected cost below it, and how was it while training?"""
    rows = []
    for method in methods:
        for index, each in enumerate(e for e in method.evaluation.evidence if e.prefix == ""):
            name = each.constraint
            cells = [
                (f"{each.limit:g}", ""),
                texts("expected_cost", each.cost),
                *(
                    texts(key, value) if (value := method.estimate(key)) else ("", "")
                    for key in (
                        f"greedy_expected_cost/{name}",
                        f"cvar/{name}",
                        "training_unsafe_epochs",
                        f"training_excess/{name}",
                    )
                ),
            ]
            rows.append(
                {
                    "first": index == 0,
                    "label": method.label,
                    "colour": method.look.colour,
                    "constraint": name,
                    "verdict": "below" if each.shown else "above" if each.broken else "not shown",
                    "shown": each.shown,
                    "cells": cells,
                }
            )
    return rows


def _limits(methods: Sequence[Method], constraint: str) -> list[float]:
    """The limits of that cost, each once."""
    found = {
        limit
        for m in methods
        for name, limit in zip(m.evaluation.constraints, m.evaluation.limits, strict=False)
        if name == constraint and limit > 0
    }
    return sorted(found)


def _limited(methods: Sequence[Method]) -> list[str]:
    """Constraints with a limit, in the order of the runs."""
    names = dict.fromkeys(name for m in methods for name in m.evaluation.constraints)
    return [name for name in names if _limits(methods, name)]


def _warnings(methods: Sequence[Method]) -> list[tuple[str, str]]:
    """Signatures of failure from training and from evaluation, with the method's label."""
    found = []
    for method in methods:
        alike: dict[tuple[str, str], list[str]] = {}
        for key, text in method.run.warnings_by_key().items():
            kind, _, seed = key.partition(", seed ")
            alike.setdefault((kind, text), []).append(seed)
        for (kind, text), seeds in alike.items():
            who = ", ".join(sorted(seed for seed in seeds if seed))
            where = f", seed{'s' * (len(seeds) > 1)} {who}" if who else ""
            found.append((method.label, f"{kind}{where}: {text}"))
        found += [(method.label, text) for text in method.evaluation.warnings]
    return found


def _notes(methods: Sequence[Method]) -> list[str]:
    """What a reader must know before comparing."""
    notes = [f"{m.label}: {note}" for m in methods for note in m.evaluation.notes]
    for method in methods:
        done, whole = method.run.progress, method.run.steps
        if done < whole:
            notes.append(f"{method.label} is not finished: {done:,} of {whole:,} steps a seed.")
        if method.evaluation.steps != done:
            notes.append(f"{method.label} was evaluated after {method.evaluation.steps:,} of {done:,} steps.")
    worlds = {
        json.dumps([m.evaluation.environment, (m.run.config["world"] or {}).get("options")], sort_keys=True)
        for m in methods
    }
    if len(worlds) > 1:
        notes.append("These runs were made in different environments or settings; compare with care.")
    if len({(m.evaluation.seed, m.evaluation.episodes) for m in methods}) > 1:
        notes.append("The methods were evaluated with different seeds or numbers of episodes.")
    few = min(len(m.evaluation.seeds) for m in methods)
    if few < 3:
        word = "One seed says" if few == 1 else "Two seeds say"
        notes.append(
            f"{word} little about a method: the intervals are about the policies that were trained, "
            "not about those that other seeds would give."
        )
    return notes


def _definitions(methods: Sequence[Method]) -> list[tuple[str, str]]:
    used = {base_name(name) for m in methods for name in m.evaluation.metrics}
    found = [
        (_NAMES.get(name, name).replace("_", " "), text) for name, text in DEFINITIONS.items() if name in used
    ]
    if any(name.startswith("test_") for m in methods for name in m.evaluation.metrics):
        found.append(
            (
                "train and test starts",
                "Two disjoint sets of start positions around the same three corners, drawn from different "
                "named seeds. Training, and the demonstrations, only know the first.",
            )
        )
    return found


def _numbers(methods: Sequence[Method]) -> list[tuple[str, list[tuple[str, str]]]]:
    names = dict.fromkeys(name for m in methods for name in m.evaluation.metrics)
    return [
        (name, [texts(name, value) if (value := m.estimate(name)) else ("", "") for m in methods])
        for name in names
    ]


def _facts(method: Method) -> list[tuple[str, str, bool]]:
    """How a run was made: name, text, and whether the text is code."""
    config, evaluation = method.run.config, method.evaluation
    world, demos = config["world"] or {}, config.get("demonstrations")
    options = config["learner"].get("options") or {}
    facts = [
        ("command", config.get("command") or "from Python", bool(config.get("command"))),
        ("folder", str(method.run.path), True),
        ("algorithm", config["learner"]["name"], False),
        ("steps", f"{method.run.progress:,} of {method.run.steps:,}, each seed", False),
        ("seeds", ", ".join(map(str, config["seeds"])), False),
        ("environment", f"{world.get('id') or 'own function'}, {world.get('envs', '?')} side by side", False),
        ("its options", _options(world.get("options") or {}), True),
        ("settings", _options(options), True),
        ("versions", ", ".join(f"{k} {v}" for k, v in (config.get("versions") or {}).items()), False),
        (
            "evaluation",
            f"{evaluation.episodes} episodes a seed, mode {evaluation.mode}, seed {evaluation.seed}",
            False,
        ),
    ]
    if demos:
        source = f"{demos.get('source') or 'given in Python'} (sha256 {str(demos.get('digest'))[:12]})"
        facts.insert(5, ("demonstrations", source, False))
    return [fact for fact in facts if fact[1]]


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in options.items())


# Figures ---------------------------------------------------------------------------------------------


def _figure(title: str, svg: str, caption: str = "") -> dict[str, Any]:
    from markupsafe import Markup

    return {"title": title, "svg": Markup(svg), "caption": caption}


def _learning(methods: Sequence[Method]) -> list[dict[str, Any]]:
    figures = []
    for name, title in {
        "return": "Return",
        "violating_episodes": "Episodes with a violation",
        "success": "Success",
    }.items():
        lines = _lines(methods, name)
        if any(isinstance(line, plots.Line) for line in lines):
            svg = plots.curves(f"learning-{name}", lines, axis=title.lower(), percent=is_rate(name))
            figures.append(_figure(title, svg))
    for name in _limited(methods):
        lines = _lines(methods, f"cost/{name}")
        if any(isinstance(line, plots.Line) for line in lines):
            svg = plots.curves(
                f"learning-cost-{name}",
                lines,
                axis=f"cost of an episode: {name}",
                limits=_limits(methods, name),
            )
            figures.append(_figure(f"Cost: {name}", svg, "Mean of an episode, exploration included."))
    for name, title, caption in (
        (
            "lambda",
            "λ, the weight of the constraint",
            "Grows while the constraint is violated, falls otherwise.",
        ),
        ("alpha", "α, the weight of the entropy", "The temperature of soft actor-critic."),
    ):
        lines = [line for method in methods for line in _multipliers(method, name)]
        if lines:
            axis = title.partition(",")[0]
            svg = plots.curves(f"learning-{name}", lines, axis=axis, wide=True, about=title)
            figures.append(_figure(title, svg, caption))
    return figures


def _lines(methods: Sequence[Method], name: str) -> list[plots.Line | plots.Level]:
    """A curve for each method that logged the metric, a level for one that took no environment steps."""
    lines: list[plots.Line | plots.Level] = []
    for method in methods:
        found = plots.binned(method.columns, name, share=_SHARE)
        value = method.estimate(name)
        if found is not None:
            lines.append(plots.Line(method.label, method.look, *found))
        elif value is not None:
            lines.append(plots.Level(method.label, method.look, value))
    return lines


def _multipliers(method: Method, name: str) -> list[plots.Line]:
    names = {"lambda": ("lambda", "multiplier")}.get(name, (name,))
    found = [
        (column, plots.binned(method.columns, column))
        for column in method.columns
        if column.partition("/")[0] in names
    ]
    return [plots.Line(column, method.look, *values) for column, values in found if values is not None]


def _safety(methods: Sequence[Method]) -> list[dict[str, Any]]:
    marks = [
        plots.Mark(m.label, m.look, rate, value, hollow=prefix == "test_")
        for m in methods
        for prefix in ("", "test_")
        if (rate := m.estimate(f"{prefix}violating_episodes")) and (value := m.estimate(f"{prefix}return"))
    ]
    if not marks:
        return []
    hollow = any(mark.hollow for mark in marks)
    caption = "Best is the upper left corner." + (
        " Filled: train starts. Hollow: test starts." if hollow else ""
    )
    figures = [_figure("Return over violations", plots.trade_off("trade-off", marks), caption)]
    for name in _limited(methods):
        marks = [
            plots.Mark(m.label, m.look, cost, value, hollow=prefix == "greedy_")
            for m in methods
            for prefix in ("", "greedy_")
            if (cost := m.estimate(f"{prefix}expected_cost/{name}"))
            and (value := m.estimate(f"{prefix}return"))
        ]
        if marks:
            svg = plots.trade_off(
                f"trade-off-{name}",
                marks,
                axis=f"expected cost: {name}",
                percent=False,
                limits=_limits(methods, name),
            )
            hollow = any(mark.hollow for mark in marks)
            caption = "Red: the limit." + (" Hollow: without exploration noise." if hollow else "")
            figures.append(_figure(f"Return over cost: {name}", svg, caption))
    names = dict.fromkeys(name for m in methods for name in m.evaluation.constraints)
    groups = ["any", *names] if len(names) > 1 else list(names)
    for metric, title in (
        ("violating_episodes", "Episodes with a violation"),
        ("violating_steps_per_episode", "Violating steps"),
    ):
        charts: dict[str, list[plots.Bars]] = {}
        for prefix in ("", "test_"):
            each = [_bars(m, prefix + metric, groups) for m in methods]
            if any(bar.values for bar in each):
                charts[prefix] = each
        ends = [v.upper for each in charts.values() for bar in each for v in bar.values.values()]
        top = 1.08 * max([v for v in ends if np.isfinite(v)], default=1.0)
        for prefix, each in charts.items():
            where = STARTS[prefix] if len(charts) > 1 else ""
            svg = plots.bars(
                f"bars-{prefix}{metric}",
                groups,
                each,
                axis="episodes" if is_rate(metric) else "steps an episode",
                percent=is_rate(metric),
                top=max(top, 0.01),
                about=f"{title} by constraint {where}".strip(),
            )
            figures.append(_figure(f"{title}, {where}" if where else title, svg))
    return figures


def _bars(method: Method, name: str, groups: Sequence[str]) -> plots.Bars:
    values = {
        group: value
        for group in groups
        if (value := method.estimate(name if group == "any" else f"{name}/{group}")) is not None
    }
    return plots.Bars(method.label, method.look, values)


def _boards(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """The paths of each method on the maze's board, from train and from test starts."""
    from markupsafe import Markup

    found = []
    for index, method in enumerate(methods):
        options = method.maze
        if options is None:
            continue
        for prefix in ("", "test_"):
            if prefix not in method.tables:
                continue
            svg = plots.board(
                f"board-{index}-{prefix}",
                geometry.board(options.get("board", "gap")),
                _paths(method, method.tables[prefix]),
                goal_radius=float(options.get("goal_radius", 24.0)),
                about=f"{method.label}: paths from {STARTS[prefix]}",
            )
            found.append(
                {
                    "label": f"{method.label}, {STARTS[prefix]}",
                    "colour": method.look.colour,
                    "svg": Markup(svg),
                    "caption": _board_caption(method, prefix),
                }
            )
    return found


def _paths(method: Method, table: EpisodeTable) -> list[plots.Path]:
    each = max(1, min(_PATHS // table.seeds, table.paths.shape[1]))
    paths = []
    for seed in range(table.seeds):
        for episode in range(each):
            observations, flags = table.path(seed, episode)
            points, success = maze_positions(observations), bool(table.success[seed, episode])
            paths.append(plots.Path(points, np.asarray(flags.any(axis=1)), success, method.look))
    return paths[:_PATHS]


def _board_caption(method: Method, prefix: str) -> str:
    words = []
    for name, head in (
        ("success", "success"),
        ("violating_episodes", "episodes with a violation"),
        ("way_left", "left of the island"),
    ):
        value = method.estimate(prefix + name)
        if value is not None:
            words.append(f"{head} {texts(name, value)[0]}")
    return ", ".join(words).replace(" %", "\u00a0%")


def _videos(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """One animation a method of the maze: the same starts for all, one near each corner."""
    played = [method for method in methods if method.maze is not None]
    corners = np.array(list(geometry.CORNERS.values()))
    size = 288 if len(played) <= 3 else 224
    found = []
    for method in played:
        table = method.tables.get("test_", method.tables.get(""))
        if table is None:
            continue
        options = method.maze or {}
        starts = maze_positions(table.paths[0, :, 0])
        chosen = video.near_corners(starts, corners)
        most = max(24, _FRAMES // (len(played) * len(chosen)))
        episodes, words = [], []
        for number, episode in enumerate(chosen, 1):
            observations, flags = table.path(0, episode)
            violated = np.asarray(flags.any(axis=1))
            episodes.append(
                video.maze_frames(
                    options.get("board", "gap"),
                    observations,
                    violated,
                    size=size,
                    most=min(most, 110),
                    text=f"{number} of {len(chosen)}",
                    goal_radius=float(options.get("goal_radius", 24.0)),
                )
            )
            reached = "reaches the goal" if table.success[0, episode] else "does not reach the goal"
            bad = int(violated.sum())
            words.append(f"{reached}, {bad or 'no'} violating step{'s' * (bad != 1)}")
        found.append(
            {
                "label": method.label,
                "colour": method.look.colour,
                "size": size,
                "count": len(chosen),
                "data": base64.b64encode(video.gif(episodes)).decode(),
                "caption": "; ".join(f"{n}: {text}" for n, text in enumerate(words, 1))
                + f" (seed {method.evaluation.seeds[0]}).",
            }
        )
    return found
