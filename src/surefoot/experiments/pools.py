"""Where cells run: processes on this machine, or a Ray cluster. Both start the same process a cell.

A pool has ``room`` (how many more cells it takes now), ``start(job)``, ``poll() -> [(job, Result)]``
for cells that have ended since the last call, and ``stop()``, which lets running cells save and ends
them.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import surefoot
from surefoot._machine import cores
from surefoot.errors import SurefootError
from surefoot.experiments import Cell
from surefoot.experiments.results import versions
from surefoot.experiments.worker import CORES, Place
from surefoot.training.run import atomic_write, checkpoints_of, write_json

PROGRAM = ("-m", "surefoot.experiments.worker")
"""What Python runs for a cell."""
GRACE = 60.0
"""Seconds that a stopped process has for saving."""


@dataclass(frozen=True)
class Job:
    """A cell to run."""

    cell: Cell
    place: Place
    command: str
    fresh: bool = False
    begins_others: bool = False
    """Whether another cell starts from its critics, so that its newest checkpoint goes where its files go."""

    def plan(self) -> dict[str, Any]:
        """What :mod:`surefoot.experiments.worker` reads."""
        return {
            "cell": self.cell.as_dict(),
            "runs": str(self.place.runs.resolve()),
            "command": self.command,
            "fresh": self.fresh,
            "begins_others": self.begins_others,
        }


@dataclass(frozen=True)
class Result:
    """How a cell's process ended."""

    code: int
    """Its exit code; negative if a signal or a lost machine ended it, so that another try is worth it."""
    message: str = ""
    """What went wrong, in a line."""

    @property
    def lost(self) -> bool:
        return self.code < 0


class Pool(Protocol):
    """The face of both pools."""

    @property
    def room(self) -> int: ...
    def start(self, job: Job) -> None: ...
    def poll(self) -> list[tuple[Job, Result]]: ...
    def stop(self) -> None: ...


# One process ----------------------------------------------------------------------------------------


def shares(cores: Sequence[int], jobs: int) -> list[tuple[int, ...]]:
    """Which cores each of the jobs has to itself; where there are fewer than jobs, some share one."""
    if len(cores) < jobs:
        return [(cores[job % len(cores)],) for job in range(jobs)]
    return [tuple(cores[job::jobs]) for job in range(jobs)]


def environment(threads: int) -> dict[str, str]:
    """Environment variables that hold a process to ``threads`` threads and find this very package."""
    package = str(Path(surefoot.__file__).resolve().parents[1])
    path = os.environ.get("PYTHONPATH")
    count = str(threads)
    return {
        "PYTHONPATH": os.pathsep.join([package, path] if path else [package]),
        "PYTHONUNBUFFERED": "1",
        "NPROC": count,  # the size of XLA's thread pools on the CPU, and of MuJoCo's
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        # Several processes may share one GPU.
        "XLA_PYTHON_CLIENT_PREALLOCATE": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "false"),
    }


def launch(
    plan: Mapping[str, Any], place: Place, variables: Mapping[str, str], program: Sequence[str]
) -> subprocess.Popen:
    """Starts the process of a cell; it stops, after saving, when its standard input is closed."""
    file = place.state.with_suffix(".plan")
    write_json(file, plan)
    with open(place.log, "a") as log:
        # A session of its own, so that Ctrl-C reaches the runner only, which then ends the cells in order.
        return subprocess.Popen(
            [sys.executable, *program, str(file)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            start_new_session=True,
        )


def result_of(process: subprocess.Popen, place: Place) -> Result:
    """The result of a process that has ended; the message is the last line that it printed."""
    code = process.returncode
    if process.stdin:
        process.stdin.close()
    if code == 0:
        return Result(0)
    if code < 0:
        return Result(code, f"the process was ended by signal {-code} (out of memory?); see {place.log}")
    lines = place.log.read_text(errors="replace").splitlines() if place.log.exists() else []
    last = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
    tail = "" if code == 2 else f" (see {place.log})"
    return Result(code, last.removeprefix("error: ") + tail)


def end(processes: list[subprocess.Popen]) -> None:
    """Asks processes to save and stop, waits, and kills those that do not, or all if it is interrupted."""
    for process in processes:
        if process.stdin:
            process.stdin.close()
    deadline = time.monotonic() + GRACE
    try:
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


class Processes:
    """``jobs`` processes at a time on this machine, each on its share of the cores."""

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise SurefootError(f"jobs = {jobs}: give the number of processes, at least 1.")
        self._jobs = jobs
        self._free = shares(cores(), jobs)
        self._variables = environment(len(self._free[0]))
        self._running: list[tuple[Job, subprocess.Popen, tuple[int, ...]]] = []

    @property
    def room(self) -> int:
        return self._jobs - len(self._running)

    def start(self, job: Job) -> None:
        share = self._free.pop(0)
        kept = {CORES: ",".join(map(str, share))}
        process = launch(job.plan(), job.place, self._variables | kept, PROGRAM)
        self._running.append((job, process, share))

    def poll(self) -> list[tuple[Job, Result]]:
        ended = [each for each in self._running if each[1].poll() is not None]
        self._running = [each for each in self._running if each not in ended]
        self._free += [share for *_, share in ended]
        return [(job, result_of(process, job.place)) for job, process, _ in ended]

    def stop(self) -> None:
        end([process for _, process, _ in self._running])
        self._running = []


# Ray ------------------------------------------------------------------------------------------------


class Ray:
    """Cells as tasks of a Ray cluster; Ray places them and retries those whose machine is lost.

    Where the folder of runs is shared, a task works in it and a retry resumes from the last checkpoint.
    Elsewhere a task works in the machine's own cache folder and sends its files back at the end.
    """

    def __init__(self, address: str, retries: int) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports]
            from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise SurefootError("--ray needs Ray: pip install 'surefoot[ray]'.") from None
        self._ray, self._error = ray, RayError
        variables = environment(1)
        _check_reachable(address)
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                ignore_reinit_error=True,
                runtime_env={"env_vars": {"PYTHONPATH": variables["PYTHONPATH"]}},
            )
        except Exception as error:  # Ray raises many kinds
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise _no_cluster(address, reason) from None
        task: Any = ray.remote(run_remotely)
        self._remote = task.options(num_cpus=1, max_retries=retries, retry_exceptions=False)
        self._variables = variables
        self._running: dict[Any, Job] = {}

    @property
    def room(self) -> int:
        return sys.maxsize

    def start(self, job: Job) -> None:
        token = uuid.uuid4().hex
        atomic_write(job.place.state.with_suffix(".token"), token.encode())
        source = job.cell.source
        wanted = takes_critics(job.cell)
        given = None if source is None else pack(job.place.of(source), checkpoint=wanted)
        version = versions()["surefoot"]
        reference = self._remote.remote(job.plan(), token, self._variables, version, PROGRAM, given)
        self._running[reference] = job

    def poll(self) -> list[tuple[Job, Result]]:
        if not self._running:
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        ended = []
        for reference in ready:
            job = self._running.pop(reference)
            try:
                answer = self._ray.get(reference)
            except (self._error, OSError) as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                ended.append((job, Result(-1, f"lost on the cluster: {lines[-1]}")))
                continue
            if answer["files"] is not None:
                unpack(answer["files"], job.place.runs)
            ended.append((job, Result(answer["code"], answer["message"])))
        return ended

    def stop(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference)
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE)
        self._running = {}
        self._ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raises :class:`SurefootError` if nothing answers at ``HOST:PORT``; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # a word, such as auto
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str, reason: str) -> SurefootError:
    return SurefootError(
        f"No Ray cluster at '{address}' ({reason}). `ray start --head` starts one here; then use --ray auto."
    )


def run_remotely(
    plan: Mapping[str, Any],
    token: str,
    variables: Mapping[str, str],
    version: str,
    program: Sequence[str] = PROGRAM,
    given: bytes | None = None,
) -> dict[str, Any]:
    """A cell on a machine of the cluster: exit code, message, and its files if the folder is not shared.

    ``given`` are the files of its source, for a machine that does not share the folder.
    """
    if versions()["surefoot"] != version:
        here = versions()["surefoot"]
        message = f"this machine has surefoot {here}, the starter {version}; install the same everywhere"
        return {"code": 2, "message": message, "files": None}
    cell = Cell.from_dict(plan["cell"])
    place = Place(Path(plan["runs"]), cell.name)
    file = place.state.with_suffix(".token")
    shared = file.exists() and file.read_text() == token
    if not shared:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        place = Place(cache / "surefoot" / "ray" / place.runs.parent.name / place.runs.name, cell.name)
        if given is not None:
            unpack(given, place.runs)
    own = environment(1)
    variables = {**variables, "PYTHONPATH": own["PYTHONPATH"]}
    process = launch({**plan, "runs": str(place.runs)}, place, variables, program)
    try:
        # Not wait(): a cancelled task gets its KeyboardInterrupt between two short sleeps.
        while process.poll() is None:
            time.sleep(0.1)
    except BaseException:
        end([process])
        raise
    result = result_of(process, place)
    return {
        "code": result.code,
        "message": result.message,
        "files": None if shared or result.code else pack(place, checkpoint=plan["begins_others"]),
    }


def takes_critics(cell: Cell) -> bool:
    """Whether the cell starts from the critics of its source, which only a checkpoint of that holds."""
    return bool(cell.takes.get("start", {}).get("critics"))


def pack(place: Place, *, checkpoint: bool = False) -> bytes:
    """A tar archive of the cell's files; of the checkpoints the newest at most, if ``checkpoint``."""
    kept = checkpoints_of(place.run)[:1] if checkpoint else []
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        # The state last: it says that the cell is finished.
        for path in [*sorted(place.run.rglob("*")), place.log, place.state]:
            inside = path.relative_to(place.runs)
            if path.is_file() and ("checkpoints" not in inside.parts or path in kept):
                archive.add(path, arcname=str(inside))
    return buffer.getvalue()


def unpack(archive: bytes, runs: Path) -> None:
    """Writes the files of :func:`pack` below ``runs``; raises :class:`SurefootError` for any other name."""
    top = runs.resolve()
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as file:
        for member in file:
            path = (top / member.name).resolve()
            content = file.extractfile(member) if member.isreg() else None
            if content is None or not path.is_relative_to(top):
                raise SurefootError(f"The cluster sent back '{member.name}', which is no file of a cell.")
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, content.read())
