"""What all benchmarks share: pinned threads, a report of the machine, results as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SINGLE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


def parser(description: str | None) -> argparse.ArgumentParser:
    """With the options that every benchmark has."""
    text = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    text.add_argument("--out", type=Path, help="write the result as JSON to this file")
    return text


def pin(cores: Iterable[int]) -> None:
    """Keeps this process, and what it starts, on these cores; call it before JAX is imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(cores))


def one_thread() -> None:
    """JAX on the CPU, in one thread, in this process; call it before JAX is imported."""
    os.environ.update(SINGLE_THREAD)
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def machine() -> dict[str, Any]:
    """Processor, cores, load and versions: what a number means nothing without."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    except OSError:
        pass
    return {
        "processor": model,
        "cores": len(cores()),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "equinox", "optax", "numpy")},
        **_mujoco(),
    }


def _mujoco() -> dict[str, str]:
    try:
        return {"mujoco": version("mujoco")}
    except PackageNotFoundError:
        return {}


PLACES = ("--out", "--peer")
"""Options that say where something is, and change no number."""


def command() -> str:
    """What the user typed, without the folders of this machine."""
    kept, place = [Path(sys.argv[0]).name], False
    for word in sys.argv[1:]:
        if place or word.startswith(tuple(f"{option}=" for option in PLACES)):
            place = False
        elif word in PLACES:
            place = True
        else:
            kept.append(os.path.relpath(word) if os.path.isabs(word) else word)
    return shlex.join(kept)


def spread(values: list[float]) -> dict[str, float]:
    """Median, quartiles, smallest and number of the values."""
    low, middle, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return {
        "median": middle,
        "lower_quartile": low,
        "upper_quartile": high,
        "min": min(values),
        "n": len(values),
    }


def finish(result: dict[str, Any], out: Path | None) -> None:
    """Prints the result and the command that made it, and writes them where asked."""
    text = json.dumps({"command": command(), **result}, indent=2)
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(out.name + ".tmp")
        part.write_text(text + "\n")
        os.replace(part, out)


class Worker:
    """A process that sets itself up, waits, and times one round at each request.

    It prints lines that start with ``@`` and hold JSON: one when it is ready, one for each round.
    """

    def __init__(self, command: list[str], *, core: int | None = None) -> None:
        self.command = command
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, it lives as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | SINGLE_THREAD,
            preexec_fn=None if core is None else lambda: pin([core]),
        )
        self.about = self._answer()

    def round(self) -> dict[str, Any]:
        """One round: name -> time."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        self._errors.seek(0)
        sys.exit(f"error: {' '.join(self.command)} failed:\n{self._errors.read()[-2000:]}")
