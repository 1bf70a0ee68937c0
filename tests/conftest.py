"""Set before anything is imported: no screen, no threads beside pytest's own workers, no user's cache."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
# What the library keeps between runs (compiled programs) must neither come from a user's folder nor go there.
os.environ["XDG_CACHE_HOME"] = os.path.join(tempfile.gettempdir(), f"surefoot-tests-{os.getuid()}")
# A job in the background of a shell may have Ctrl-C ignored, also in what it starts; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


MOST_MAPPINGS = 20_000
"""Linux allows a process 65,530; every compiled program takes some, and a process without crashes."""


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Forgets compiled programs between modules when they have become many."""
    yield
    mappings = Path("/proc/self/maps")
    if "jax" in sys.modules and mappings.exists() and mappings.read_bytes().count(b"\n") > MOST_MAPPINGS:
        sys.modules["jax"].clear_caches()
        gc.collect()


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def surefoot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs ``surefoot WORDS...`` in this process and in a folder of its own."""
    from surefoot.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Outcome:
        capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as leaving:  # tyro leaves this way after --help
            code = int(leaving.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
