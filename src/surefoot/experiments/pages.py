"""Parts that the pages of all experiments have. Everything is computed from the numbers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from surefoot.experiments import Experiment
from surefoot.experiments.results import ENOUGH_SEEDS, Claim, Record, markdown_table, tally
from surefoot.training.run import atomic_write


def save(experiment: Experiment, folder: str | Path, parts: Iterable[str]) -> Path:
    """Writes the page ``NAME.md`` of these parts, less the empty ones, into ``folder``; returns its path."""
    path = Path(folder) / f"{experiment.name}.md"
    atomic_write(path, ("\n\n".join(part for part in parts if part) + "\n").encode())
    return path


def head(experiment: Experiment, title: str, *paragraphs: str, records: Sequence[Record], scale: str) -> str:
    """Title, the paragraphs, and where the numbers are from."""
    made = f"This page is made from numbers by `surefoot reproduce {experiment.name} --page`; do not edit it."
    return "\n\n".join([f"# {title}", made, *paragraphs, "\n".join(origin(records, scale))])


def origin(records: Sequence[Record], scale: str) -> list[str]:
    """Lines that say by which commands and with which versions the numbers were made."""
    versions = _versions([record["versions"] for record in records])
    commands = {record["command"] for record in records if record.get("command")}
    programs = sorted({whole(command) for command in commands})
    pieces = ", a few cells at a time (`--only`)" if any("--only" in command for command in commands) else ""
    lines = [
        "Made with: " + " / ".join(f"`{program}`" for program in programs) + f"{pieces}.",
        f"Versions: {' / '.join(versions)}.",
    ]
    if len(versions) > 1:
        lines += ["", "**The cells were not all made with the same versions.**"]
    if scale == "smoke":
        lines += ["", "**Scale `smoke` only tests that everything runs. Its numbers mean nothing.**"]
    return lines


def _versions(found: Sequence[Mapping[str, str]]) -> list[str]:
    """Each set of versions as text; one that only names fewer packages than another is not told twice."""
    sets = [set(each.items()) for each in found]
    largest = [each for each in sets if not any(each < other for other in sets)]
    named = [each for each in found if set(each.items()) in largest]
    return sorted({", ".join(f"{name} {version}" for name, version in each.items()) for each in named})


NO_MATTER = {"--only": math.inf, "--jobs": 1, "--progress": 0, "--no-progress": 0}
"""Options of ``surefoot reproduce`` that change no number, and how many words may follow them."""


def whole(command: str) -> str:
    """A ``reproduce`` command without the options of ``NO_MATTER``."""
    kept: list[str] = []
    leaving: float = 0
    for word in shlex.split(command):
        name, is_there, _ = word.partition("=")
        if name in NO_MATTER:
            leaving = 0 if is_there else NO_MATTER[name]
        elif leaving and not word.startswith("--"):
            leaving -= 1
        else:
            leaving = 0
            kept.append(word)
    return shlex.join(kept)


def in_short(found: Sequence[Claim], cases: str = "settings") -> str:
    """The section that counts how often each claim is met; ``cases`` are what it is judged in."""
    rows = []
    for claim, met, missed, missing in tally(found):
        open_ = sum(c.claim == claim and c.verdict.holds is not None and not c.verdict.certain for c in found)
        rows.append(
            (
                claim,
                f"{met} of {met + missed}" if met + missed else "-",
                str(open_) if open_ else "",
                str(missing) if missing else "",
            )
        )
    head = ("claim", f"met in ({cases})", "of all these, intervals leave open", "not measured")
    return (
        "## In short\n\n"
        + markdown_table(head, rows)
        + (
            "\n\nA claim is *met* where the estimates meet it; the intervals leave it open where they do not "
            f"decide it by themselves (those of fewer than {ENOUGH_SEEDS} seeds never do). Each verdict is "
            "listed [below](#every-verdict)."
        )
    )


def every_verdict(found: Sequence[Claim]) -> str:
    """The section with each claim in each case."""
    rows = [(claim.claim, claim.where, claim.ours, str(claim.verdict)) for claim in found]
    return "## Every verdict\n\n" + markdown_table(("claim", "where", "ours", "verdict"), rows)


def make_again(experiment: Experiment, records: Sequence[Record], scale: str) -> str:
    """The section that says how, which cells have not been run, and which would be run again."""
    from surefoot.experiments.runner import digest_of

    have = {record["cell"]: record.get("digest") for record in records}
    missing, stale, known = [], [], {}
    for cell in experiment.cells(scale):
        if cell.name not in have:
            missing.append(cell.name)
        elif have[cell.name] is not None and digest_of(cell, known) not in (None, have[cell.name]):
            stale.append(cell.name)
    reproduce = f"surefoot reproduce {experiment.name} --scale {scale}"
    parts = [
        "## Make it again\n",
        f"```\n{reproduce} --jobs 2\n{reproduce} --page\n```",
        f"Numbers: `results/{experiment.name}/{scale}/summary.json`. Cells and their settings: "
        f"`{reproduce} --list`.",
    ]
    if missing:
        parts.append(f"\nCells that have not been run: {_list(missing)}.")
    if stale:
        which = "all" if len(stale) == len(have) else _list(stale)
        parts.append(
            "\nMade by an earlier version, of which settings, their defaults or the environment have changed "
            f"since, which may matter (CHANGELOG.md says what changed): {which}. `reproduce` would run them "
            "again."
        )
    return "\n".join(parts)


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def worth_drawing(picture: Path, there: int, wanted: int) -> bool:
    """Whether a picture of run folders, of which so many are there, is drawn: one that was made from more is
    not replaced by a part of it."""
    return there == wanted > 0 or (there > 0 and not picture.exists())


def image(path: str, caption: str) -> str:
    """A picture with its caption below."""
    return f"![{caption}]({path})\n\n*{caption}*"


def shown(drawn: Mapping[str, str], captions: Mapping[str, str], name: str) -> str:
    """The picture of that name with its caption; nothing if it was not drawn."""
    return image(drawn[name], captions[name]) if name in drawn else ""


def pictures(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The paths, seen from a page beside ``folder``, of the pictures that are in it."""
    paths = {name: folder / f"{name}.svg" for name in names}
    return {name: f"{folder.name}/{path.name}" for name, path in paths.items() if path.exists()}


def span(numbers: Iterable[int]) -> str:
    """``no``, ``3`` or ``3 to 5``."""
    values = sorted(set(numbers))
    return "no" if not values else str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
