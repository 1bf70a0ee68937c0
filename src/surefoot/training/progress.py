"""What a training shows while it runs: a bar on a terminal, plain lines elsewhere, TensorBoard."""

from __future__ import annotations

import math
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np

from surefoot.training.run import cannot_write

_LINES = 10
"""Plain lines of a whole run, about."""


class Progress:
    """Progress on stderr; warnings are printed even where progress is not shown."""

    def __init__(self, title: str, *, show: bool) -> None:
        self.title, self.show = title, show
        self._live: Any = None
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> Self:
        if self.show and sys.stderr.isatty():
            from rich.console import Console, Group
            from rich.live import Live
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar
            from rich.text import Text

            columns = TextColumn("{task.fields[steps]}"), TextColumn("[dim]{task.fields[pace]}")
            self._bar = Bar(BarColumn(bar_width=24), *columns)
            self._numbers = Text("", no_wrap=True, overflow="ellipsis")
            self._live = Live(Group(self._bar, self._numbers), console=Console(stderr=True))
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def start(self, total: int, done: int, seeds: int) -> None:
        """``done`` of ``total`` steps a seed are behind us; the first block is being compiled."""
        self.total, self.seeds = total, seeds
        self._began = time.monotonic()
        self._tenth = done * _LINES // total
        self.say(f"{self.title}: {total:,} steps, {seeds} seed{'s' * (seeds > 1)}; compiling ...")
        if self._live is not None:
            self._row = self._bar.add_task("", total=total, completed=done, steps="", pace="compiling ...")

    def update(self, done: int, latest: Mapping[str, np.ndarray]) -> None:
        """``done`` steps a seed are behind us; ``latest`` are the metrics of the last block, ``[seeds]``."""
        if not self.show:
            return
        pace, numbers = self._pace(done), _numbers(latest)
        if self._live is not None:
            self._bar.update(self._row, completed=done, steps=f"{done:,} of {self.total:,}", pace=pace)
            self._numbers.plain = numbers
        elif done * _LINES // self.total > self._tenth or done >= self.total:
            self._tenth = done * _LINES // self.total
            share = f"{done:,} of {self.total:,} steps ({100 * done // self.total} %)"
            self._print(", ".join(filter(None, (f"{self.title}: {share}", pace, numbers))))

    def end(self, done: int, text: str) -> None:
        """Training ends after ``done`` steps a seed, and why."""
        if self._live is not None:
            self._bar.update(self._row, total=done, completed=done, steps=f"{done:,}", pace="")
        self.say(f"{self.title} {text}")

    def say(self, text: str) -> None:
        """A line of its own, on top of the bar; not shown where progress is not."""
        if self.show:
            self._print(text)

    def warn(self, text: str) -> None:
        """A warning, shown always."""
        self._print(f"warning: {text}")

    def _pace(self, done: int) -> str:
        """Steps a second over all seeds and the time left, not counting the first block, which compiles."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
            return f"first block after {now - self._began:.0f} s"
        since, start = self._first
        rate = (done - start) / max(now - since, 1e-9)
        left = (self.total - done) / max(rate, 1e-9)
        return f"{rate * self.seeds:,.0f} steps/s, {_duration(left)} left"

    def _print(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


def _numbers(latest: Mapping[str, np.ndarray]) -> str:
    """Return and violations averaged over seeds; without them, the first metrics there are."""
    shown = [name for name in ("return", "success", "violating_episodes") if name in latest]
    texts = []
    for name in shown or list(latest)[:2]:
        values = latest[name][np.isfinite(latest[name])]
        if not len(values):
            continue
        mean = float(values.mean())
        rate = name in ("success", "violating_episodes")
        texts.append(f"{name.replace('_', ' ')} {f'{100 * mean:.0f} %' if rate else f'{mean:.4g}'}")
    return ", ".join(texts)


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class TensorBoard:
    """Scalars under ``tensorboard/seed-S``, if tensorboardX is installed; else nothing happens.

    Events are written here and now. The package's own writer does it in a thread, and when that thread
    meets a full disk it ends and leaves the training waiting for it.
    """

    def __init__(self, folder: Path, seeds: Sequence[int], start: int) -> None:
        """``start``: steps done before; what an interrupted process logged behind them is hidden."""
        self._folder = folder / "tensorboard"
        self._writers: list[Any] = []
        try:
            events: Any = import_module("tensorboardX.proto.event_pb2")
            summaries: Any = import_module("tensorboardX.proto.summary_pb2")
            from tensorboardX.record_writer import RecordWriter
        except ImportError:
            return
        self._event, self._summary = events.Event, summaries.Summary
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{start}"
        with self._full_disk():
            for seed in seeds:
                (self._folder / f"seed-{seed}").mkdir(parents=True, exist_ok=True)
                self._writers.append(RecordWriter(str(self._folder / f"seed-{seed}" / name)))
        log = events.SessionLog(status=events.SessionLog.START)
        for writer in self._writers:
            self._write(writer, file_version="brain.Event:2")
            self._write(writer, step=start + 1, session_log=log)

    def log(self, steps: int, values: Mapping[str, np.ndarray]) -> None:
        """One block: metrics ``[seeds]`` at ``steps``."""
        for position, writer in enumerate(self._writers):
            numbers = {name: float(column[position]) for name, column in values.items()}
            scalars = [
                self._summary.Value(tag=name, simple_value=number)
                for name, number in numbers.items()
                if math.isfinite(number)
            ]
            self._write(writer, step=steps, summary=self._summary(value=scalars))

    def flush(self) -> None:
        """Brings what was logged to the disk."""
        with self._full_disk():
            for writer in self._writers:
                writer.flush()

    def close(self) -> None:
        """After the last call of :meth:`log`."""
        for writer in self._writers:
            with suppress(OSError):  # the numbers are in metrics.csv; another error may be on its way
                writer.close()

    def _write(self, writer: Any, **content: Any) -> None:
        with self._full_disk():
            writer.write(self._event(wall_time=time.time(), **content).SerializeToString())

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._folder, error) from error
