"""The one family of errors that a user can cause.

The command line prints them as one line and exits with code 2; Python code can
catch :class:`SurefootError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral


class SurefootError(ValueError):
    """Something that the caller gave is wrong; the message says what and how to mend it."""


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> SurefootError:
    """An error for a name that does not exist; proposes the nearest one that does.

    ``kind`` is what the name stands for ("algorithm"), ``known`` all the names that exist,
    ``hint`` an optional sentence, such as the command that lists them.
    """
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    tail = f" {hint}" if hint else ""
    return SurefootError(f"Unknown {kind} '{name}'.{guess} Known: {', '.join(names) or 'none'}.{tail}")


def check_room(what: str, needed: float, fix: str) -> None:
    """Raise :class:`SurefootError` if ``what`` needs more bytes than this machine has memory at all.

    ``fix`` says what to do, such as "take fewer steps".
    """
    try:
        there = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # not on every system
        return
    if needed > there:
        needs, has = (f"{size / 2**30:.0f} GiB" for size in (needed, there))
        raise SurefootError(f"{what} needs about {needs}, but this machine has {has}; {fix}.")


def check_seed(seed: object) -> None:
    """Raise :class:`SurefootError` unless ``seed`` is a whole number that every simulator takes."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**31:
        raise SurefootError(f"Seed {seed!r} is not a whole number from 0 to {2**31 - 1}.")


def check_range(
    name: str,
    value: int | float,
    *,
    low: int | float | None = None,
    high: int | float | None = None,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise :class:`SurefootError` unless ``value`` is a number inside the interval.

    ``open_low`` and ``open_high`` exclude the end itself.
    """
    inside = value == value  # a NaN is inside nothing
    if low is not None:
        inside = inside and (value > low if open_low else value >= low)
    if high is not None:
        inside = inside and (value < high if open_high else value <= high)
    if not inside:
        left = "-inf" if low is None else f"{low:g}"
        right = "inf" if high is None else f"{high:g}"
        brackets = ("(" if open_low or low is None else "[", ")" if open_high or high is None else "]")
        raise SurefootError(
            f"{name} = {value} is out of range; it must lie in {brackets[0]}{left}, {right}{brackets[1]}."
        )
