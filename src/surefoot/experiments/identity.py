"""What a cell's numbers depend on, read without importing JAX.

A cell says only where its settings differ from the defaults. So that a changed default, a changed
environment or other demonstrations make it another cell, its digest covers them as well. It does not
cover the code of the algorithms: the package's version and :data:`REVISIONS` stand for that.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import surefoot
from surefoot.algorithms import ALGORITHMS
from surefoot.envs import ENVIRONMENTS, GYMNASIUM
from surefoot.errors import SurefootError, unknown
from surefoot.experiments import EXPERT, POLICY, UNTRAINED, Cell
from surefoot.experiments.results import versions

REVISIONS: tuple[tuple[str, str, Callable[[Mapping[str, Any]], bool]], ...] = (
    ("scopil", "the critic's share of entropy", lambda options: options.get("beta", 0.5) != 0.5),
    ("loop", "progress since the last progress", lambda options: options.get("model_patience") is not None),
    ("mbpo", "progress since the last progress", lambda options: True),
    ("airl", "episodes of all rounds", lambda options: not options.get("density")),
    ("fmax", "episodes of all rounds", lambda options: not options.get("density")),
    ("fmax", "expert states as the agent's", lambda options: not options.get("density")),
    ("gail", "expert states as the agent's", lambda options: not options.get("density")),
)
"""Changes of code that settings do not show: algorithm, what changed, and whether it concerns a cell with
these options. Such a cell is another one than before."""
CAME_LATER: tuple[tuple[str, str, str, Callable[[Mapping[str, Any]], bool]], ...] = (
    ("loop", "plan_precision", "'float32'", lambda options: True),
    ("firl", "expert_share", "0.5", lambda options: bool(options.get("density"))),
)
"""Options that an algorithm did not always have: algorithm, option, its default, and whether this does what
was done without the option in a cell with such options. Where it is untouched the cell is what it was."""


def digests(cell: Cell, known: dict[Any, Any] | None = None) -> tuple[str, str]:
    """Of the training, and of the whole cell (training and evaluation).

    ``known`` holds what was found for cells before, which many cells of an experiment share.
    """
    context = context_of(cell, known)
    return cell.training_digest(context), cell.digest(context)


def context_of(cell: Cell, known: dict[Any, Any] | None = None) -> dict[str, Any]:
    """Everything outside the cell that its numbers depend on, as JSON; ``known`` as for :func:`digests`.

    Raises :class:`surefoot.errors.SurefootError` for demonstrations that cannot be loaded and an
    algorithm that does not exist.
    """
    known = {} if known is None else known

    def found(part: Callable[..., Any], *about: Any) -> Any:
        if (part, about) not in known:
            known[part, about] = part(*about)
        return known[part, about]

    context = {
        "version": found(versions)["surefoot"],  # reads what is installed, which takes a while
        "demonstrations": found(_demonstrations, cell.demonstrations, cell.environment),
        "learner": found(_learner, cell.algorithm, _later(cell)),
        "environment": found(_environment, cell.environment),
    }
    revisions = [what for of, what, concerns in REVISIONS if of == cell.algorithm and concerns(cell.options)]
    if revisions:  # only where there are some: other cells keep the digest that they had
        context["revisions"] = revisions
    if cell.source is not None:
        context["source"] = digests(cell.source, known)[0]
    return context


def _demonstrations(name: str | None, environment: str) -> str | None:
    if name is None:
        return None
    from surefoot.data import demonstrations

    try:
        return demonstrations.load(name).digest()
    except SurefootError as error:
        if not name.startswith("mujoco/") or (demonstrations.BUNDLED / name).exists():
            raise
        run = f"runs/{name.partition('/')[2]}"
        raise SurefootError(
            f"The demonstrations '{name}' are not here; make them: surefoot expert train --env {environment} "
            f"--run {run}; surefoot demos collect --from {run} --episodes 16 --best --out {name}"
        ) from error


def _later(cell: Cell) -> tuple[tuple[str, str], ...]:
    """Options and defaults of :data:`CAME_LATER` that change nothing in a cell."""
    return tuple(
        (option, default)
        for algorithm, option, default, same in CAME_LATER
        if algorithm == cell.algorithm and same(cell.options)
    )


def _learner(algorithm: str, later: tuple[tuple[str, str], ...]) -> Any:
    """Default settings of an algorithm, less those that came ``later``; for the demonstrator its code."""
    if algorithm in (POLICY, UNTRAINED):
        return None
    if algorithm == EXPERT:
        return code_digest("surefoot.envs.marble_maze_expert")
    if algorithm not in ALGORITHMS:
        raise unknown("algorithm", algorithm, ALGORITHMS, "See `surefoot list algorithms`.")
    module, _, name = ALGORITHMS[algorithm].partition(":")
    defaults = field_defaults(f"surefoot.algorithms.{module}", name)
    return {option: value for option, value in defaults.items() if (option, value) not in later}


def _environment(name: str) -> str | None:
    """Digest of the code of an environment of ours; ``None`` for one from elsewhere."""
    path = ENVIRONMENTS.get(name, GYMNASIUM.get(name))
    return path and code_digest(f"surefoot.envs.{path.partition(':')[0]}")


@cache
def field_defaults(module: str, name: str) -> dict[str, str]:
    """The fields of a class and their defaults, as they are written in its module."""
    (found,) = (node for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name == name)
    return {
        node.target.id: ast.unparse(node.value)
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }


@cache
def code_digest(module: str) -> str:
    """Digest of a module and of those that it imports from its own package, without text for people."""
    package = module.rpartition(".")[0]
    seen: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            tree = _tree(name)
            seen[name] = ast.unparse(_without_docstrings(tree))
            todo += _imports(tree, package)
    text = "\n".join(f"{name}\n{seen[name]}" for name in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()


def _imports(tree: ast.Module, package: str) -> list[str]:
    """Modules of ``package`` that are imported anywhere in ``tree``."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            found += [f"{package}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package + "."):
            found.append(str(node.module))
    return [name for name in found if _path(name).exists()]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """The tree less every expression that is only a string, which docstrings are."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                part
                for part in body
                if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ] or [ast.Pass()]
    return tree


def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def _path(module: str) -> Path:
    return Path(surefoot.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
