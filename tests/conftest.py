"""Set before anything is imported: no screen, no threads beside pytest's own workers, no user's cache."""

from __future__ import annotations

import gc
import os
import runpy
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
for threads in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read when JAX and NumPy are imported
    os.environ.setdefault(threads, "1")
# What the library keeps between runs (compiled programs) must neither come from a user's folder nor go there.
os.environ["XDG_CACHE_HOME"] = os.path.join(tempfile.gettempdir(), f"surefoot-tests-{os.getuid()}")
# The library switches its cache on when it first trains; here all modules are to have it. Its own name of the
# folder is read without an import: the package must not be imported before jaxtyping's hook is in place.
LIBRARY = runpy.run_path(str(Path(__file__).parent.parent / "src/surefoot/training/__init__.py"))
if os.environ.get("SUREFOOT_CACHE", "").lower() not in ("off", "0", "no", "false"):
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(
        os.environ["XDG_CACHE_HOME"], "surefoot", "jax", LIBRARY["_processor"]()
    )
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "1"  # writing takes time, too
# A job in the background of a shell may have Ctrl-C ignored, also in what it starts; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


MOST_MAPPINGS = 20_000
"""Every compiled program takes some, and a process without crashes; Linux allows 65,530. Programs take memory
as well: twice as many filled five gigabytes a worker."""


def pytest_configure(config: pytest.Config) -> None:
    """A program that another worker is just writing is compiled instead."""
    config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache:UserWarning")


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
    monkeypatch.setattr(sys, "path", [*sys.path])  # a command appends the folder where it is called

    def run(*words: str) -> Outcome:
        capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as leaving:  # tyro leaves this way after --help
            code = int(leaving.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
