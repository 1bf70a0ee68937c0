"""What the commands share: options from dataclasses, errors in one line, plain tables."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from surefoot.errors import SurefootError

T = TypeVar("T")

RUNS = Path("runs")
"""Where runs are put and looked for if no folder is named."""


def parse(
    options: type[T],
    argv: Sequence[str],
    *,
    prog: str,
    description: str | None = None,
    environment: str | None = None,
) -> T:
    """``options``, a dataclass or Equinox module, filled from the command line by tyro.

    Prints the help and leaves on ``--help``. Raises :class:`SurefootError` with one line for an option
    that does not exist (and proposes the nearest, or says how an option of the Gymnasium ``environment``
    is given), a value that cannot be read, or one out of range.
    """
    import tyro

    complaint = io.StringIO()
    help_wanted = "-h" in argv or "--help" in argv
    try:
        with (
            contextlib.redirect_stderr(complaint),
            contextlib.nullcontext() if help_wanted else _no_wrapping(),
        ):
            value, left = tyro.cli(
                options,
                args=list(argv),
                prog=prog,
                description=description,
                return_unknown_args=True,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as leaving:
        if not leaving.code:
            raise
        raise SurefootError(f"{_first_paragraph(complaint.getvalue())} See `{prog} --help`.") from None
    if left:
        raise _left_over(left, list(_flags(options)), prog, environment)
    return value


@contextlib.contextmanager
def _no_wrapping() -> Iterator[None]:
    """Lets tyro write lines of any length, so that no word of a message is broken in two."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _first_paragraph(box: str) -> str:
    """What a box of tyro's says between its title and its first rule, as one line.

    The box is drawn in lines, with the title in its upper edge, or in dashes, with the title above a rule.
    """
    paragraphs: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines():
        words = line.strip("│ ")
        if words and not set(words) <= {"─", "-"} and words[0] not in "╭╰":
            paragraphs[-1].append(words)
        elif paragraphs[-1]:
            paragraphs.append([])
    body = next(iter(paragraphs if "╭" in box else paragraphs[1:]), [])
    text = " ".join(" ".join(body).split()) or "The options cannot be read."
    # "algorithm: " and the like are the names of groups, which the user has not typed.
    text = _plainly(re.sub(r"^(Error parsing )?([a-z]+: )?", "", text))
    return text if text.endswith(".") else text + "."


def _plainly(text: str) -> str:
    """A complaint about a value in words for people who know neither Python's types nor tyro's."""
    several = re.search(r"^(--\S+): .*\['([^']*,[^']*)'\]\.?$", text)
    if several:
        flag, value = several.groups()
        apart = value.replace(",", " ")
        return f"{flag} {value}: write several values with spaces between them, {flag} {apart}"
    text = re.sub(r"no type matching .* could be instantiated from \['(.*)'\]", r"'\1' cannot be read", text)
    text = re.sub(r"Could not find valid parse for arguments: \['(.*)'\]", r"'\1' cannot be read", text)
    text = re.sub(r"could not convert string to float: ('.*')", r"\1 is not a number", text)
    whole = re.search(r"invalid literal for int\(\) with base 10: '(.*)'", text)
    if whole:
        meant = _whole(whole[1])
        hint = f"; write {meant}" if meant else ""
        text = text.replace(whole[0], f"'{whole[1]}' is not a whole number{hint}")
    return text


def _whole(text: str) -> str:
    """The digits of a whole number that is written otherwise, such as 3e5; empty if it is none."""
    try:
        value = float(text)
    except ValueError:
        return ""
    return str(int(value)) if value.is_integer() else ""


def _left_over(
    words: Sequence[str], known: list[str], prog: str, environment: str | None = None
) -> SurefootError:
    word = words[0]
    if not word.startswith("-"):
        return SurefootError(f"'{word}' is one argument too many. See `{prog} --help`.")
    flag, equals, value = word.partition("=")
    name = flag.lstrip("-").replace("-", "_")
    if environment is not None and name in _options_inside(environment):
        value = value if equals else next((word for word in words[1:2] if not word.startswith("--")), "VALUE")
        return SurefootError(
            f"Unknown option '{flag}', but {environment} has an option of that name: give it as "
            f"--option {name}={value}. See `{prog} --help`."
        )
    near = get_close_matches(flag, known, n=1, cutoff=0.5)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    return SurefootError(f"Unknown option '{flag}'.{guess} See `{prog} --help`.")


def _options_inside(environment: str) -> list[str]:
    from surefoot.worlds import option_names

    return option_names(environment)


def _flags(options: type[Any]) -> Iterator[str]:
    """The options that the fields of a dataclass, and of the dataclasses in it, become."""
    types = get_type_hints(options)
    for each in fields(options):
        if isinstance(inner := types[each.name], type) and is_dataclass(inner):
            yield from _flags(inner)
            continue
        flag = each.name.replace("_", "-")
        yield from (f"--{flag}", f"--no-{flag}") if types[each.name] is bool else (f"--{flag}",)
    yield "--help"


MOST_SEEDS = 1_000
"""That are trained side by side; a larger number is taken for a slip."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """``"5"`` is the seeds 0 to 4; ``"0,3,7"`` is these three, and ``"7,"`` the seed 7 alone."""
    try:
        seeds = tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        seeds = ()
    if "," not in text and seeds:
        if seeds[0] > MOST_SEEDS:
            raise SurefootError(
                f"--seeds {text} asks for that many seeds, {MOST_SEEDS} at most; the one seed is {seeds[0]}, "
                "with a comma behind it."
            )
        seeds = tuple(range(seeds[0]))
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise SurefootError(
            f"--seeds {text}: give how many (5), or which (0,3,7), each once, none below 0; 7, is one seed."
        )
    return seeds


def parse_pairs(words: Sequence[str], option: str) -> dict[str, Any]:
    """``["a=1", "b=left"]`` as a dictionary; a value is read as JSON if it is JSON, else it is text.

    Python's ``True``, ``False`` and ``None`` count as JSON's: as text, ``False`` would be true.
    """
    import json

    pairs: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise SurefootError(f"{option} {word}: write NAME=VALUE, such as {option} is_slippery=false.")
        try:
            pairs[name] = json.loads(text)
        except ValueError:
            pairs[name] = {"True": True, "False": False, "None": None}.get(text, text)
    return pairs


def find_run(path: str | Path) -> Path:
    """The folder of a run that the user names; a bare name is looked for below ``runs/`` too."""
    folder = Path(path)
    if not folder.exists() and (RUNS / folder).exists():
        return RUNS / folder
    return folder


def say_next(folder: Path) -> None:
    """After training: where the run is, and what one does with it."""
    print(f"Run: {folder}\nNext: surefoot evaluate {shlex.quote(str(folder))}")


def table(rows: Mapping[str, str] | Sequence[Sequence[str]], *, indent: int = 2) -> str:
    """Columns of text, each as wide as its widest entry; the last one is free to run on."""
    lines = list(rows.items()) if isinstance(rows, Mapping) else [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        (
            " " * indent + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def print_table(rows: Mapping[str, str] | Sequence[Sequence[str]], *, indent: int = 2) -> None:
    """Prints :func:`table`."""
    print(table(rows, indent=indent))


def environments() -> dict[str, str]:
    """What ``--env`` takes, with a line about each."""
    from surefoot.envs import ABOUT, GYMNASIUM

    return {name: ABOUT[name] for name in GYMNASIUM} | {
        "gymnasium:ID": "any environment of Gymnasium, such as gymnasium:CartPole-v1",
        "python:MODULE.FUNCTION": "your own function that returns a Gymnasium environment",
    }


def algorithms() -> dict[str, str]:
    """What ``surefoot train`` takes, with a line about each."""
    from surefoot.algorithms import ABOUT, ALGORITHMS

    return {name: ABOUT[name] for name in ALGORITHMS}
