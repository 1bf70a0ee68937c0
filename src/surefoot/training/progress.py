"""What a training shows while it runs: a bar on a terminal, plain lines elsewhere, TensorBoard."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
        self._bar: Any = None
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> Self:
        if self.show and sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.TextColumn("{task.fields[steps]}"),
                progress.TextColumn("[dim]{task.fields[status]}", markup=True),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, total: int, done: int, seeds: int) -> None:
        """``done`` of ``total`` steps a seed are behind us; the first block is being compiled."""
        self.total, self.seeds = total, seeds
        self._began = time.monotonic()
        self._tenth = done * _LINES // total
        if self._bar is not None:
            self._row = self._bar.add_task(
                self.title, total=total, completed=done, steps="", status="compiling ..."
            )
        else:
            self.say(f"{self.title}: {total:,} steps, {seeds} seed{'s' * (seeds > 1)}; compiling ...")

    def update(self, done: int, latest: Mapping[str, np.ndarray]) -> None:
        """``done`` steps a seed are behind us; ``latest`` are the metrics of the last block, ``[seeds]``."""
        if not self.show:
            return
        status = ", ".join(filter(None, (self._pace(done), _numbers(latest))))
        if self._bar is not None:
            self._bar.update(self._row, completed=done, steps=f"{done:,} of {self.total:,}", status=status)
        elif done * _LINES // self.total > self._tenth or done >= self.total:
            self._tenth = done * _LINES // self.total
            share = f"{done:,} of {self.total:,} steps ({100 * done // self.total} %)"
            self._print(f"{self.title}: {share}, {status}")

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
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
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
    """Scalars under ``tensorboard/seed-S``, if tensorboardX is installed; else nothing happens."""

    def __init__(self, folder: Path, seeds: Sequence[int], start: int) -> None:
        """``start``: steps done before; what an interrupted process logged behind them is hidden."""
        self._folder = folder / "tensorboard"
        self._writers = []
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            return
        for seed in seeds:
            where = str(self._folder / f"seed-{seed}")
            self._writers.append(SummaryWriter(where, purge_step=start + 1))

    def log(self, steps: int, values: Mapping[str, np.ndarray]) -> None:
        """One block: metrics ``[seeds]`` at ``steps``."""
        with self._full_disk():
            for position, writer in enumerate(self._writers):
                for name, column in values.items():
                    if np.isfinite(column[position]):
                        writer.add_scalar(name, float(column[position]), steps)

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

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._folder, error) from error
