"""What is done with the numbers of a run while it trains: written, shown, and watched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from surefoot.errors import SurefootError
from surefoot.training import metrics
from surefoot.training.engine import Compiled, Hosted
from surefoot.training.plan import Plan
from surefoot.training.progress import Progress, TensorBoard
from surefoot.training.run import Run, append, write_json


class Log:
    """Where the numbers of a run go: the metrics file, the display, TensorBoard, the detectors."""

    def __init__(self, run: Run, display: Progress, plan: Plan, done: int) -> None:
        self._run, self._display, self._plan = run, display, plan
        self.columns = run.metrics()
        """Everything logged so far, as :meth:`Run.metrics` returns it."""
        self._warned = run.warnings_by_key()
        self._look_every = max(1, plan.iterations // plan.block // 200)
        self._board = TensorBoard(run.path, run.seeds, done * plan.steps_per_iteration)
        if not run.config["task"]["constraints"]:
            display.warn(f"{run.config['task']['name']} reports no cost, so violations cannot be measured.")
        for name in ("warm_up", "learning_starts"):
            first = run.config["learner"]["options"].get(name, 0)
            if first >= plan.steps:
                display.warn(
                    f"the {plan.steps:,} steps of this run are all warm-up ({first:,}), so nothing is "
                    f"learned; give more --steps, or a smaller --{name.replace('_', '-')}."
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()

    def write(self, done: int, values: Mapping[str, np.ndarray]) -> None:
        """One row a seed: ``values`` are ``[seeds]`` at the end of a block after ``done`` iterations."""
        values = metrics.ordered(values)
        seeds, steps = self._run.seeds, done * self._plan.steps_per_iteration
        text = metrics.rows(done, steps, seeds, values)
        index = {"iteration": [done] * len(seeds), "steps": [steps] * len(seeds), "seed": seeds}
        new = {name: np.asarray(column) for name, column in index.items()} | values
        if not self.columns:
            text = metrics.header(tuple(values)) + text
            self.columns = new
        elif list(self.columns) != list(new):
            raise SurefootError(
                f"The metrics {sorted(set(self.columns) ^ set(new))} are new or gone since "
                f"{self._run.metrics_path} began; resume with the version of surefoot that began it."
            )
        else:
            self.columns = {name: np.concatenate([old, new[name]]) for name, old in self.columns.items()}
        append(self._run.metrics_path, text)
        self._board.log(steps, values)
        self._display.update(steps, values)
        for key, sentence in metrics.faults(values, seeds).items():
            self.warn_once(key, sentence)
        # What swings or sinks while a policy is still young is no failure.
        if 2 * done >= self._plan.iterations and done // self._plan.block % self._look_every == 0:
            for key, sentence in metrics.signatures(self.columns).items():
                self.warn_once(key, sentence)

    def end(self, done: int, reached: bool, level: str) -> None:
        """The last words on a target after ``done`` iterations: a line, or a warning that is kept."""
        steps = done * self._plan.steps_per_iteration
        if self._warned.pop("target", None):  # of a run that has been made longer since
            write_json(self._run.path / "warnings.json", self._warned)
        if not reached:
            text = f"the target was not reached in {steps:,} steps: {level}; give more --steps."
            self.warn_once("target", text)
            return
        if done < self._plan.iterations:
            self._run.end_early(done, steps)
        self._display.end(steps, f"reached its target after {steps:,} steps: {level}")

    def warn_once(self, key: str, sentence: str) -> None:
        """Shows and records a warning, unless there was one about the same thing before."""
        if key not in self._warned:
            self._warned[key] = sentence
            self._display.warn(f"{key}: {sentence}")
            write_json(self._run.path / "warnings.json", self._warned)

    def sync(self) -> None:
        """Waits until the disk has everything."""
        append(self._run.metrics_path, b"", sync=True)
        self._board.flush()


class Guard:
    """Stops a run whose numbers are no longer finite, and says which and where."""

    def __init__(
        self, run: Run, engine: Compiled | Hosted, plan: Plan, tree: Any, columns: Mapping[str, np.ndarray]
    ) -> None:
        self._run, self._plan = run, plan
        self._names = engine.names(tree)
        self._was_finite = engine.finite(tree)
        seeds = len(run.seeds)
        self._seen: dict[str, np.ndarray] = {
            name: np.asarray(np.isfinite(values).reshape(-1, seeds).any(axis=0))
            for name, values in columns.items()
            if name not in metrics.INDEX
        }

    def check(self, block: Mapping[str, np.ndarray], finite: np.ndarray, first: int) -> None:
        """``block`` holds the metrics of the iterations from ``first``, ``finite`` the state after them."""
        bad = metrics.first_non_finite(block, self._seen)
        if bad is not None:
            name, offset, seed, value = bad
            self._stop(f"{name} became {value}", seed, first + offset + 1)
        # What was not finite from the start is meant to be so: a mask, say.
        broken = np.argwhere(self._was_finite & ~finite)
        if len(broken):
            array, seed = broken[0].tolist()
            what = f"{self._names[array]} holds a number that is not finite"
            self._stop(what, seed, first + self._plan.block)
        self._was_finite = finite
        for name, values in block.items():
            here = np.asarray(np.isfinite(values).any(axis=0))
            self._seen[name] = self._seen.get(name, here) | here

    def _stop(self, what: str, seed: int, iteration: int) -> None:
        kept = self._run.checkpoints()
        good = f"The last good checkpoint is {kept[0]}." if kept else "There is no checkpoint before it."
        mend = "Try a smaller learning rate or reward scale."
        if self._run.config["learner"]["options"].get("density"):
            # It was looked at in some places before the training, not wherever the agent gets to.
            mend = (
                "The likely cause is the density, if it can be NaN or infinite at a state that the agent "
                "visits; else try a smaller learning rate or reward scale."
            )
        raise SurefootError(
            f"Training diverged: {what} (seed {self._run.seeds[seed]}, iteration {iteration}, "
            f"{iteration * self._plan.steps_per_iteration:,} steps). {mend} {good}"
        )
