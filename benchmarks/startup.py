"""Seconds from the command to the first gradient steps, compiling included.

``surefoot train scopil`` is started as a user would. The clock stops when the first row of metrics with a
loss is on disk: that is after 64 environment steps and 64 gradient updates. Cold: nothing is in the
compilation cache; warm: it holds what an earlier run compiled. "help" is ``surefoot train --help``.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import finish, machine, parser, spread

SUREFOOT = [sys.executable, "-c", "import sys; from surefoot.cli.main import main; sys.exit(main())"]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--cold", type=int, default=2, help="starts with an empty cache")
    options.add_argument("--warm", type=int, default=4, help="starts with a full one")
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--demos", default="marble-maze/zone")
    given = options.parse_args()
    about = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cold = [start(given, folder / f"cold-{i}", folder / f"cache-{i}") for i in range(given.cold)]
        warm = [start(given, folder / f"warm-{i}", folder / "cache-0") for i in range(given.warm)]
        times = [read_help(folder) for _ in range(3)]
    result = {
        "benchmark": "startup",
        "unit": "seconds from the command to the first row with a loss",
        "seeds": given.seeds,
        "machine": about,
        "cold": spread(cold),
        "warm": spread(warm),
        "help": spread(times),
    }
    finish(result, given.out)


def start(given: object, run: Path, cache: Path) -> float:
    """Starts a training, waits for the first loss, lets it end."""
    command = ["train", "scopil", f"--demos={given.demos}", f"--seeds={given.seeds}", f"--run={run}"]  # type: ignore[attr-defined]
    command += ["--warm-up=0", "--steps=256", "--log-every=64", "--no-progress"]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    begin = time.perf_counter()
    process = subprocess.Popen(SUREFOOT + command, env=environment, stdout=subprocess.DEVNULL)
    try:
        while not has_loss(run / "metrics.csv"):
            if process.poll() is not None and not has_loss(run / "metrics.csv"):
                sys.exit(f"error: 'surefoot {' '.join(command)}' ended with code {process.returncode}.")
            time.sleep(0.005)
        seconds = time.perf_counter() - begin
        if process.wait(timeout=300):
            sys.exit(f"error: 'surefoot {' '.join(command)}' ended with code {process.returncode}.")
    finally:
        process.kill()
    return seconds


def has_loss(metrics: Path) -> bool:
    """Whether a whole row with the critics' loss is on disk."""
    try:
        text = metrics.read_text()
    except FileNotFoundError:
        return False
    rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    return any(row["critic_loss"] not in ("", "nan") for row in rows)


def read_help(folder: Path) -> float:
    begin = time.perf_counter()
    environment = os.environ | {"XDG_CACHE_HOME": str(folder)}
    subprocess.run([*SUREFOOT, "train", "--help"], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
