"""A run: the folder that one training leaves behind. Reading it needs no JAX.

| in the folder | what |
| --- | --- |
| ``config.json`` | learner, world, demonstrations, seeds, length, command, versions |
| ``metrics.csv`` | one row per logged block and seed, append-only |
| ``checkpoints/ITERATION.safetensors`` | the whole training state, the last two |
| ``policy/`` | the policies alone, for use elsewhere |
| ``reward/`` | the learned rewards alone, of methods that learn one |
| ``given_reward/`` | a copy of the learned reward that it was trained on, if it was |
| ``warnings.json`` | signatures of failure that were seen |
| ``end.json`` | after how many iterations it ended, if its target was reached before the last |
| ``evaluation.json``, ``rollouts.npz``, ``summary.json`` | written by evaluation |
| ``after-STEPS/`` | the same, of the policy after so many steps, if the run was made longer |
| ``tensorboard/`` | where tensorboardX is installed |

Every file is written to a temporary name, flushed to the disk and renamed, except ``metrics.csv``,
whose torn end is dropped when it is read.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import platform
import re
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import surefoot
from surefoot.errors import SurefootError, unknown
from surefoot.training import metrics

if TYPE_CHECKING:
    from surefoot.training.plan import Plan

FORMAT = 1
"""Version of the layout of a run folder."""

EVALUATED = ("evaluation.json", "rollouts.npz", "summary.json")
"""What evaluation writes into a run folder."""


class Run:
    """One run folder, opened for reading.

    >>> run = Run("runs/demo")                       # doctest: +SKIP
    >>> run.metrics()["violating_episodes"]          # doctest: +SKIP
    """

    path: Path
    config: dict[str, Any]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens an existing folder; raises :class:`SurefootError` if it is not a readable run."""
        self.path = Path(path)
        self.config = _read_config(self.path)

    @classmethod
    def create(
        cls, path: str | os.PathLike[str] | None, config: Mapping[str, Any], *, overwrite: bool = False
    ) -> Run:
        """A new run folder with ``config.json`` in it; it appears whole or not at all.

        ``None`` makes ``runs/NAME`` with a readable name that no other run has. An existing folder is
        refused unless it is empty, or ``overwrite`` is set and it is a run: then that one is moved aside,
        until :meth:`settle` or :meth:`withdraw`.
        """
        folder = _free_name(config) if path is None else Path(path)
        if not folder.name:
            raise SurefootError(f"'{folder}' is no name of a run folder; give one, such as runs/first.")
        if folder.is_symlink():
            folder = folder.resolve()
        _check_free(folder, overwrite)
        fresh = _beside(folder, "new")
        try:
            fresh.mkdir(parents=True)
            atomic_write(fresh / "config.json", _to_json({"format": FORMAT} | dict(config)))
            while not _put(fresh, folder, overwrite):
                # Another process has made this very run in the meantime.
                if path is not None:
                    raise _exists(folder)
                folder = _free_name(config)
        except OSError as error:
            raise cannot_write(folder, error) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return cls(folder)

    def settle(self) -> None:
        """Deletes the run that this one has taken the place of, now that it has something to show itself."""
        for old in self._replaced():
            shutil.rmtree(old, ignore_errors=True)

    def withdraw(self) -> None:
        """Deletes this run, which never came to anything, and puts back the one that it replaced."""
        replaced = self._replaced()
        shutil.rmtree(self.path, ignore_errors=True)
        if replaced:
            replaced.pop().rename(self.path)
        for each in replaced:
            shutil.rmtree(each, ignore_errors=True)

    def _replaced(self) -> list[Path]:
        """What was moved aside for this run, the latest last: several if processes were killed, and then
        those with a checkpoint come last."""
        name = re.compile(rf"\.{re.escape(self.path.name)}\.\d+(-\d+)?\.old")
        found = [path for path in self.path.parent.iterdir() if name.fullmatch(path.name)]
        return sorted(found, key=lambda path: (any(path.glob("checkpoints/*")), path.stat().st_mtime))

    @property
    def replaces(self) -> bool:
        """Whether another run is kept aside for this one."""
        return bool(self._replaced())

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.config["seeds"])

    @property
    def steps(self) -> int:
        """Steps a seed that the whole run takes: fewer than were planned if it reached its target early."""
        early = self._early_end() if self.finished else None
        return early["steps"] if early else self.config["steps"]

    @property
    def progress(self) -> int:
        """Steps a seed that were logged so far."""
        logged = self.metrics().get("steps", np.zeros(0, np.int64))
        return int(logged[-1]) if len(logged) else 0

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        saved, early = self.checkpoints(), self._early_end()
        last = early["iteration"] if early else self.config["iterations"]
        return bool(saved) and iteration_of(saved[0]) >= last

    def lengthen(self, plan: Plan) -> None:
        """Writes down that the run is to take as long as ``plan`` says.

        What evaluation said of the policy so far goes into a folder ``after-STEPS``. Raises
        :class:`SurefootError` for a run that has reached its target: it has nothing left to do.
        """
        if self._early_end() and self.finished:
            raise SurefootError(
                f"{self.path} reached its target after {self.steps:,} steps, so it is not made longer; "
                "other methods can start from it with --from."
            )
        config = self.config | {"steps": plan.steps, "iterations": plan.iterations}
        if config == self.config:
            return
        aside = self.path / f"after-{self.progress}"
        with locked(self.path):
            for name in EVALUATED:
                if (self.path / name).exists():
                    aside.mkdir(exist_ok=True)
                    os.replace(self.path / name, aside / name)
            atomic_write(self.path / "config.json", _to_json(config))
        self.config = config

    def end_early(self, iteration: int, steps: int) -> None:
        """Writes down that training ends after these iterations, before the checkpoint that holds them."""
        write_json(self.path / "end.json", {"iteration": iteration, "steps": steps})

    def forget_end(self) -> None:
        """Takes :meth:`end_early` back, for a run that lost its last checkpoint."""
        (self.path / "end.json").unlink(missing_ok=True)

    def _early_end(self) -> dict[str, int] | None:
        path = self.path / "end.json"
        found = _read_json(path) if path.exists() else None
        if found is not None and not (isinstance(found, dict) and {"steps", "iteration"} <= found.keys()):
            raise SurefootError(f"{path} is damaged; delete it, and resume the run.")
        return found

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.csv"

    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of ``metrics.csv``: ``iteration``, ``steps``, ``seed`` (integers), then floats.

        Rows are in the order of training, the seeds of a block in the order of ``seeds``; a block
        that was being written when the run was killed is left out.
        """
        if not self.metrics_path.exists():
            return {}
        return metrics.columns(self.metrics_path, block=len(self.seeds))

    def warnings(self) -> list[str]:
        """Signatures of failure that were seen while training, one sentence each."""
        return [f"{key}: {text}" for key, text in self.warnings_by_key().items()]

    def warnings_by_key(self) -> dict[str, str]:
        """The same, by what they are about, such as ``"runaway lambda, seed 0"``."""
        path = self.path / "warnings.json"
        found = _read_json(path) if path.exists() else {}
        if not isinstance(found, dict):
            raise SurefootError(f"{path} is damaged; delete it.")
        return found

    def checkpoints(self) -> list[Path]:
        """Checkpoint files, newest first."""
        return checkpoints_of(self.path)

    def __repr__(self) -> str:
        return f"Run('{self.path}')"


def checkpoints_of(folder: Path) -> list[Path]:
    """Checkpoint files of the run ``folder``, newest first."""
    found = (folder / "checkpoints").glob("*.safetensors")
    return sorted((path for path in found if path.stem.isdigit()), key=iteration_of, reverse=True)


def iteration_of(checkpoint: Path) -> int:
    """Iterations that a checkpoint file holds, from its name."""
    return int(checkpoint.stem)


# Options of learners -----------------------------------------------------------------------------------


def options_of(learner: Any) -> dict[str, Any]:
    """The fields of a learner as plain JSON values."""
    return {f.name: _plain(f.name, getattr(learner, f.name)) for f in dataclasses.fields(learner) if f.init}


def learner_from(name: str, options: Mapping[str, Any] | None = None) -> Any:
    """The learner of that name with these settings.

    ``name`` is one of the table of algorithms, or ``module:Class`` for a learner of one's own.
    Raises :class:`SurefootError` for an unknown name or option, and for a value out of range.
    """
    return _build(name, _learner_class(name), dict(options or {}))


def _learner_class(name: str) -> type[Any]:
    from surefoot.algorithms import algorithm

    module, colon, attribute = name.partition(":")
    if not colon:
        return algorithm(name)
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SurefootError(
            f"The learner '{name}' cannot be imported here ({error}); "
            "put its module on the Python path, or give the learner itself: resume(RUN, learner=...)."
        ) from error


def _build(name: str, cls: type[Any], options: dict[str, Any]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for option in options:
        if option not in fields:
            raise unknown(f"option of {name}", option, fields)
    values = {key: _revive(name, fields[key], value) for key, value in options.items()}
    try:
        return cls(**values)
    except TypeError as error:  # a word where a number belongs, a field that is missing
        raise SurefootError(f"The options of {name} are wrong: {error}.") from error


def _plain(name: str, value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return options_of(value)
    if isinstance(value, (tuple, list)):
        return [_plain(name, entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise SurefootError(
        f"Setting '{name}' is a {type(value).__name__}, which a run cannot record; "
        "settings are numbers, words, tuples of them, or other settings."
    )


def _revive(name: str, field: dataclasses.Field[Any], value: Any) -> Any:
    if isinstance(value, Mapping):
        default = field.default_factory() if callable(field.default_factory) else field.default  # type: ignore[misc]
        if not dataclasses.is_dataclass(default):
            raise SurefootError(f"Option '{field.name}' of {name} takes no options of its own.")
        return _build(f"{name}.{field.name}", type(default), dict(value))  # type: ignore[arg-type]
    return _tuples(value)


def _tuples(value: Any) -> Any:
    """JSON knows lists only; settings are immutable."""
    return tuple(_tuples(entry) for entry in value) if isinstance(value, (list, tuple)) else value


# Files -------------------------------------------------------------------------------------------------


def atomic_write(path: str | os.PathLike[str], data: bytes | Iterable[Any]) -> None:
    """Replaces ``path`` by ``data`` (bytes, or buffers one after the other), whole or not at all.

    Raises :class:`SurefootError`, and leaves what was there before, if the disk is full or refuses.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            for chunk in (data,) if isinstance(data, bytes) else data:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # whose message would hide the one above
            temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """``value`` as an indented JSON file, atomically."""
    atomic_write(path, _to_json(value))


def append(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Adds ``data`` at the end of a file; ``sync`` waits until the disk has all of it."""
    try:
        with open(path, "ab") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> SurefootError:
    """The one line that a user sees when the disk is full or refuses."""
    return SurefootError(
        f"Could not write {path}: {error.strerror or error}. Make room or choose another folder; "
        "what was saved before is intact."
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from training the same run; the system releases it however this one ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    try:
        file = open(folder / ".lock", "ab")  # noqa: SIM115
    except OSError as error:
        raise cannot_write(folder, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SurefootError(
                f"{folder} is being trained by another process; wait for it, or stop it."
            ) from None
        yield


def sweep(folder: Path) -> None:
    """Removes temporary files that a kill left in ``folder`` and its subfolders."""
    for left in folder.rglob(".*.tmp"):
        left.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Versions of what decides the numbers of a run."""
    found = {"python": platform.python_version(), "surefoot": surefoot.__version__}
    for package in ("jax", "jaxlib", "equinox", "optax", "numpy", "gymnasium"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    with suppress(metadata.PackageNotFoundError):  # an extra
        found["mujoco"] = metadata.version("mujoco")
    return found


def _to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _sync_folder(folder: Path) -> None:
    """A rename lasts through a power failure only once the folder itself is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SurefootError(
            f"{path} cannot be read ({error}); it was damaged or edited. Restore it, or train again."
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not folder.is_dir():
        raise SurefootError(f"There is no run folder {folder}.")
    if not path.exists():
        raise SurefootError(f"{folder} is not a run folder: it has no config.json.")
    config = _read_json(path)
    if not isinstance(config, dict):
        raise SurefootError(f"{path} is not the description of a run. Restore it, or train again.")
    if config.get("format") != FORMAT:
        raise SurefootError(
            f"{path} has format {config.get('format')}, but this version of surefoot reads format {FORMAT}; "
            "use the version that wrote it, or train again."
        )
    missing = {"learner", "world", "seeds", "steps", "iterations"} - config.keys()
    if missing:
        raise SurefootError(f"{path} lacks {', '.join(sorted(missing))}. Restore it, or train again.")
    kinds = {"learner": dict, "seeds": list, "steps": int, "iterations": int}
    wrong = [name for name, kind in kinds.items() if not isinstance(config[name], kind)]
    if wrong:
        raise SurefootError(f"{path} is damaged: {', '.join(wrong)}. Restore it, or train again.")
    return config


def _check_free(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SurefootError(f"{folder} is a file; choose another name for the run folder.")
    if not any(folder.iterdir()):
        return
    if not overwrite:
        raise _exists(folder)
    if not (folder / "config.json").exists():
        raise SurefootError(f"{folder} is not a run folder, so it is not overwritten; choose another.")
    with locked(folder):
        pass


def _exists(folder: Path) -> SurefootError:
    return SurefootError(
        f"The run folder {folder} exists; choose another, continue it with "
        f"`surefoot resume {shlex.quote(str(folder))}`, or replace it with --overwrite (overwrite=True)."
    )


def _put(fresh: Path, folder: Path, overwrite: bool) -> bool:
    """Gives ``fresh`` the name ``folder``; false if that is a folder that is not empty and stays.

    With ``overwrite`` what was there is moved aside, and put back if something fails.
    """
    old = _beside(folder, "old")
    aside = overwrite and folder.exists() and any(folder.iterdir())
    try:
        if aside:
            folder.rename(old)
        fresh.rename(folder)
    except OSError as error:
        if aside and old.exists():
            old.rename(folder)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _beside(folder: Path, ending: str) -> Path:
    """A hidden name beside ``folder`` that nothing has: the same process number may have been here before."""
    path, number = folder.with_name(f".{folder.name}.{os.getpid()}.{ending}"), 1
    while path.exists():
        path = folder.with_name(f".{folder.name}.{os.getpid()}-{number}.{ending}")
        number += 1
    return path


def _free_name(config: Mapping[str, Any]) -> Path:
    """``runs/ALGORITHM-ENVIRONMENT-DATE-TIME``, with a number behind it if that is taken."""
    learner = config["learner"]["name"].rpartition(":")[2]
    environment = (config["world"] or {}).get("id") or "world"
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{learner}-{environment}").strip("-.")
    name = f"{words}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = Path("runs") / name, 2
    while folder.exists():
        folder, number = Path("runs") / f"{name}-{number}", number + 1
    return folder
