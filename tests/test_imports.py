"""Imports point one way, and what must answer at once does not wait for JAX.

Read from the source by ``ast``: what a module imports when it is imported. Imports inside functions are
free (they are how the command line stays quick), and so are those for the type checker alone.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
PACKAGE = SOURCE / "surefoot"

MAY_IMPORT = {
    "errors": set(),
    "task": {"errors"},
    "numerics": {"_importing", "errors"},
    "data": {"numerics", "task", "errors"},
    "networks": {"numerics", "task", "errors"},
    "envs": {"_machine", "numerics", "task", "errors"},
    "worlds": {"_importing", "envs", "data", "task", "errors"},
    "algorithms": {"worlds", "networks", "numerics", "data", "task", "errors"},
    "evaluation": {"training", "algorithms", "worlds", "envs", "networks", "data", "task", "errors"},
    "training": {"evaluation", "algorithms", "worlds", "envs", "networks", "data", "task", "errors"},
    "reports": {"training", "evaluation", "algorithms", "envs", "data", "task", "errors"},
    "experiments": {
        *("reports", "training", "evaluation", "algorithms", "worlds", "envs", "data", "task", "errors"),
        "_machine",
    },
    "cli": {
        *("experiments", "reports", "training", "evaluation", "algorithms", "worlds", "envs", "data"),
        *("task", "errors"),
    },
    "_gymnasium": set(),
    "_importing": {"errors"},
    "_machine": set(),
    "__init__": {"_gymnasium"},
}
"""Part of the package -> the other parts that its modules may import."""

HEAVY = ("jax", "equinox", "optax")
"""What a command must not wait for until it trains or plays."""


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module in the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str) -> set[str]:
    """The modules of this package that importing ``name`` imports itself."""
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in modules() else base)
    return {target for target in found if target == "surefoot" or target.startswith("surefoot.")}


def statements(body: list[ast.stmt]) -> list[ast.Import | ast.ImportFrom]:
    """Import statements that run when the module is imported."""
    found: list[ast.Import | ast.ImportFrom] = []
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found += statements(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inside in ("body", "orelse", "finalbody"):
                found += statements(getattr(node, inside, []))
            for handler in getattr(node, "handlers", []):
                found += statements(handler.body)
    return found


def part(name: str) -> str:
    """``surefoot.data.replay`` belongs to ``data``."""
    return name.split(".")[1] if "." in name else "__init__"


def test_every_part_of_the_package_has_its_rule():
    assert {part(name) for name in modules()} <= set(MAY_IMPORT)


@pytest.mark.parametrize("name", modules())
def test_imports_point_one_way(name):
    here = part(name)
    allowed = MAY_IMPORT[here] | {here, "__init__"}  # the package itself is imported before any part of it
    wrong = sorted(target for target in imported(name) if part(target) not in allowed)
    assert not wrong, f"{name} imports {', '.join(wrong)}; {here} may import {sorted(MAY_IMPORT[here])} only"


def test_no_module_imports_itself_in_a_circle():
    state: dict[str, str] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != "open", f"circle: {' -> '.join([*trail, name])}"
        if name not in state:
            state[name] = "open"
            for target in sorted(imported(name) & set(modules())):
                visit(target, (*trail, name))
            state[name] = "done"

    for name in modules():
        visit(name, ())


def test_the_walk_sees_what_it_must(tmp_path, monkeypatch):
    text = """
from typing import TYPE_CHECKING
from .b import x
import surefoot.q.c
if TYPE_CHECKING:
    from surefoot.q import never
try:
    from surefoot.q import d
except ImportError:
    import surefoot.q.e
def late():
    import surefoot.q.f
class C:
    import surefoot.q.g
"""
    (tmp_path / "a.py").write_text(text)
    names = ("a", *"bcdefg")
    table = {f"surefoot.q.{name}": tmp_path / f"{name}.py" for name in names}
    monkeypatch.setattr(sys.modules[__name__], "modules", lambda: table)
    assert imported("surefoot.q.a") == {f"surefoot.q.{name}" for name in "bcdeg"}


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SOURCE), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


QUICK = (
    *("--help", "--version", "list", "list runs", "train --help", "train", "resume --help"),
    *("evaluate --help", "compare --help", "render --help", "demo --help", "demos --help", "demos list"),
    "reproduce --help",
)


def test_answers_without_waiting_for_jax():
    """One interpreter for all; after each command it is asked what has been imported so far."""
    run_python(f"""
import contextlib, io, sys
from surefoot.cli.main import main
for words in {QUICK}:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            main(words.split())
    except SystemExit as leaving:
        assert not leaving.code, f"surefoot {{words}}"
    assert said.getvalue(), f"surefoot {{words}} says nothing"
    slow = sorted(set({HEAVY}) & set(sys.modules))
    assert not slow, f"surefoot {{words}} imported {{slow}}"
""")


def test_the_table_of_commands_is_true():
    from surefoot.cli.main import COMMANDS

    files = {path.stem for path in (PACKAGE / "cli").glob("[a-z]*.py")} - {"main"}
    assert set(COMMANDS) == files


def test_reports_read_runs_without_jax():
    names = [name for name in modules() if part(name) in ("reports",)]
    run_python(f"import sys, {', '.join(names)}\nassert not set({HEAVY}) & set(sys.modules)")


def test_public_names_are_there_and_loaded_late():
    run_python(
        f"""
import sys
import surefoot as sf
assert not {{*{HEAVY}, "numpy", "gymnasium"}} & set(sys.modules)
assert set(dir(sf)) == set(sf.__all__)
for name in sf.__all__:
    assert getattr(sf, name) is not None
assert sf.demonstrations.load and sf.make and sf.Scopil
try:
    sf.Scopill
except AttributeError as error:
    assert "Scopill" in str(error)
else:
    raise AssertionError
"""
    )


@pytest.mark.parametrize(
    "imports", ["gymnasium, surefoot", "surefoot, gymnasium", "gymnasium.spaces, surefoot"]
)
def test_gymnasium_knows_the_maze_in_either_order_of_imports(imports):
    run_python(f"import {imports}\nassert 'surefoot/MarbleMaze-v0' in gymnasium.registry")


def test_asking_whether_gymnasium_exists_loses_nothing():
    run_python(
        """
import surefoot
from importlib.util import find_spec
assert find_spec("gymnasium") is not None
import gymnasium
assert "surefoot/MarbleMaze-v0" in gymnasium.registry
assert type(gymnasium.__loader__).__module__ != "surefoot._gymnasium"
"""
    )
