"""Experiments as data: what a paper's tables are made of, so that anybody can make them again.

An :class:`Experiment` is a list of cells at each scale; a :class:`Cell` is one method in one setting,
trained with several seeds and then evaluated. :mod:`surefoot.experiments.runner` runs them. The table
below is plain text, and nothing here imports JAX, so that listing answers at once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

from surefoot.errors import SurefootError, unknown

EXPERIMENTS = {
    "scopil": "scopil:EXPERIMENT",
    "firl-density": "firl_density:EXPERIMENT",
    "firl-benchmark": "firl_benchmark:EXPERIMENT",
    "firl-reward-recovery": "firl_reward_recovery:EXPERIMENT",
    "firl-transfer": "firl_transfer:EXPERIMENT",
    "firl-prior": "firl_prior:EXPERIMENT",
    "lbpo-benchmark": "lbpo_benchmark:EXPERIMENT",
    "lbpo-robustness": "lbpo_robustness:EXPERIMENT",
    "lbpo-beta": "lbpo_beta:EXPERIMENT",
    "lbpo-backtracks": "lbpo_backtracks:EXPERIMENT",
    "lbpo-ablations": "lbpo_ablations:EXPERIMENT",
    "loop-benchmark": "loop_benchmark:EXPERIMENT",
    "loop-mbpo": "loop_mbpo:EXPERIMENT",
    "loop-ablations": "loop_ablations:EXPERIMENT",
    "loop-safe": "loop_safe:EXPERIMENT",
}
"""Name on the command line -> module and variable, relative to this package."""

ABOUT = {
    "scopil": "SCOPIL, its ablations, SAC, BC and ICRL on the Marble Maze; sensitivity and robustness",
    "firl-density": "f-IRL, MaxEnt IRL, f-MAX, GAIL and SMM brought to a state density; KL against epochs",
    "firl-benchmark": "f-IRL, MaxEnt IRL, f-MAX, AIRL and BC from 1, 4 and 16 trajectories on MuJoCo bodies",
    "firl-reward-recovery": "SAC from scratch on the rewards that were learned from one trajectory",
    "firl-transfer": "a reward learned from a healthy ant, tried on one with two disabled legs",
    "firl-prior": "a reward recovered from a uniform density as prior for a task with a rare reward",
    "lbpo-benchmark": "PPO, PPO-Lagrangian, CPO, SDDPG, BACKTRACK and LBPO on the safety tasks",
    "lbpo-robustness": "LBPO, CPO and SDDPG on the noisy walk: violations against samples per epoch",
    "lbpo-beta": "LBPO with other weights of the barrier: conservativeness against beta",
    "lbpo-backtracks": "recovery steps of CPO, SDDPG, BACKTRACK and LBPO over the first 400 updates",
    "lbpo-ablations": "LBPO with one setting changed at a time: noise, critics, budget, step, start",
    "loop-benchmark": "LOOP, TD3, only CEM, random Q and LOOP without CEM-AG on MuJoCo tasks",
    "loop-mbpo": "LOOP with SAC inside beside MBPO on MuJoCo tasks",
    "loop-ablations": "LOOP's actor divergence and usage, horizons, augmentation, CEM-AG against CEM, fits",
    "loop-safe": "LOOP with and without a limit on the cost of its plans, on the maze and on PointGoal1",
}
"""One line each, for lists and help."""

SCALES = {
    "smoke": "a few minutes: does everything run?",
    "laptop": "an evening to some days on a laptop: the numbers that are committed",
    "paper": "longer training, more seeds and episodes: a workstation or a cluster",
}
"""The scales that every experiment has, smallest first."""

EXPERT = "expert"
"""Algorithm name of a cell that trains nothing and evaluates the demonstrator."""
POLICY = "policy"
"""Algorithm name of a cell that trains nothing and evaluates the policies of its source."""
UNTRAINED = "untrained"
"""Algorithm name of a cell that trains nothing and evaluates fresh networks, one a seed."""


@dataclass(frozen=True)
class Cell:
    """One method in one setting: what is trained, for how long, and how it is judged."""

    method: str
    """Label in tables, such as ``S-EiC``."""
    algorithm: str
    """Name in the table of algorithms, or ``expert``, ``policy``, ``untrained``."""
    setting: str
    """Label of the setting, such as ``zone+speed``."""
    environment: str = "MarbleMaze-v0"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the algorithm that differ from its defaults."""
    world: Mapping[str, Any] = field(default_factory=dict)
    """Options of ``sf.make``: those of the environment, and ``envs``."""
    demonstrations: str | None = None
    """Name or folder of the demonstrations."""
    steps: int = 100_000
    """Environment steps a seed (gradient steps for an algorithm that does not interact)."""
    seeds: tuple[int, ...] = (0,)
    episodes: int = 200
    """Episodes a seed in each evaluation."""
    group: str = "main"
    """Part of the experiment, such as ``sensitivity``."""
    published: Mapping[str, float] = field(default_factory=dict)
    """What the paper says about this cell, by metric."""
    training_metrics: tuple[str, ...] = ()
    """Metrics of the training that count as numbers of the cell: their mean over the last tenth of the run,
    and their curves, see :mod:`surefoot.experiments.training_metrics`."""
    first: int | None = None
    """Only so many of the demonstrations, the first ones; all of them if ``None``."""
    source: Cell | None = None
    """Another cell of the experiment, whose run this one uses; it is run first."""
    takes: Mapping[str, Any] = field(default_factory=dict)
    """What is used of that run, see :mod:`surefoot.experiments.sources`."""
    log_every: int | None = None
    """Steps between two rows of metrics; chosen by the length of the training if ``None``."""
    evaluate_every: int | None = None
    """Steps between two evaluations while training, see :func:`surefoot.training.fit`; none if ``None``."""
    evaluate_episodes: int = 20
    """Episodes a seed in each of these."""

    @property
    def name(self) -> str:
        """``SETTING/METHOD``: unique in an experiment; also its place in the folder of runs."""
        return f"{_plain(self.setting)}/{_plain(self.method)}"

    @property
    def trains(self) -> bool:
        """False for a cell that only evaluates."""
        return self.algorithm not in (EXPERT, POLICY, UNTRAINED)

    def as_dict(self) -> dict[str, Any]:
        """JSON-safe; :meth:`from_dict` reads it back."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cell:
        read: dict[str, Any] = {name: tuple(values.get(name, ())) for name in ("seeds", "training_metrics")}
        if values.get("source"):
            read["source"] = cls.from_dict(values["source"])
        return cls(**{**values, **read})

    def training_digest(self, context: Mapping[str, Any]) -> str:
        """Hex digest of everything that the trained policy depends on.

        ``context`` is what it depends on outside the cell, see :mod:`surefoot.experiments.identity`.
        """
        parts = ("algorithm", "environment", "options", "world", "demonstrations", "steps", "seeds")
        values = self.as_dict()
        # Only where there is something: cells keep the digest that they had before there were these fields.
        # The source itself is in the context, as the digest of its training.
        more = [part for part in ("first", "takes", "log_every", "evaluate_every") if values[part]]
        more += ["evaluate_episodes"] * bool(self.evaluate_every)
        return _digest({part: values[part] for part in (*parts, *more)}, dict(context))

    def digest(self, context: Mapping[str, Any]) -> str:
        """Hex digest of everything that the cell's numbers depend on: training and evaluation."""
        # Only where there are some: cells without them keep the digest that they had before there were any.
        more = (list(self.training_metrics),) if self.training_metrics else ()
        return _digest(self.training_digest(context), self.episodes, *more)


@dataclass(frozen=True)
class Experiment:
    """A named list of cells at each scale, and the page that shows their numbers."""

    name: str
    about: str
    cells: Callable[[str], tuple[Cell, ...]]
    """Scale -> cells, in the order in which they run."""
    claims: str
    """``module:function`` in this package: records -> claims of the paper with a verdict each
    (:class:`surefoot.experiments.results.Claim`)."""
    page: str
    """``module:function`` in this package; the function takes ``(records, scale, folder, runs)``, writes
    the page and its figures into ``folder`` and returns the page's path. ``runs`` is where the run folders
    of the cells are, if they are still there."""

    def at(self, scale: str, only: tuple[str, ...] = ()) -> tuple[Cell, ...]:
        """The cells of a scale; with ``only``, those whose name matches one of the patterns.

        A pattern is a name with ``*`` and ``?``, such as ``zone+speed/*``. Raises
        :class:`SurefootError` for an unknown scale and for a pattern that matches nothing.
        """
        if scale not in SCALES:
            raise unknown("scale", scale, SCALES)
        cells = self.cells(scale)
        for pattern in only:
            if not any(matches(cell, pattern) for cell in cells):
                hint = f"See `surefoot reproduce {self.name} --scale {scale} --list`."
                if any(mark in pattern for mark in "*?["):
                    raise SurefootError(f"No cell of '{self.name}' ({scale}) matches '{pattern}'. {hint}")
                raise unknown("cell", pattern, (cell.name for cell in cells), hint)
        return tuple(c for c in cells if not only or any(matches(c, pattern) for pattern in only))


def experiment(name: str) -> Experiment:
    """The experiment of that name; raises :class:`SurefootError` with the nearest name if there is none."""
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS, "See `surefoot reproduce --list`.")
    return attribute(EXPERIMENTS[name])


def attribute(path: str) -> Any:
    """What ``module:name`` means inside this package."""
    module, _, name = path.partition(":")
    return getattr(import_module(f"surefoot.experiments.{module}"), name)


def matches(cell: Cell, pattern: str) -> bool:
    """Whether the cell's name matches; upper and lower case are the same."""
    return fnmatchcase(cell.name.lower(), pattern.lower())


def _plain(label: str) -> str:
    """The label without characters that trouble a shell or a file system."""
    return re.sub(r"[^\w+=.,-]+", "-", label).strip("-.") or "cell"


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
