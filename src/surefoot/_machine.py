"""What of this machine a process may use."""

from __future__ import annotations

import os


def cores() -> list[int]:
    """The cores that this process may use, by number."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return list(range(os.cpu_count() or 1))


def threads() -> int:
    """How many threads a simulator may start: one a core, or what ``NPROC`` says, which XLA heeds too."""
    given = os.environ.get("NPROC", "")
    return max(1, int(given)) if given.isdecimal() else len(cores())
