"""Objects that a text names: a user's own environment, cost or density."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from surefoot.errors import SurefootError


def find(path: str) -> Any:
    """The object that ``MODULE:NAME`` or ``MODULE.NAME`` means; the working folder is searched as well.

    Raises :class:`SurefootError` if there is no such module or no such name in it. What goes wrong inside
    the module is not caught.
    """
    module, separator, name = path.partition(":")
    if not separator:
        module, _, name = path.rpartition(".")
    if not module or not name or (not separator and name == "py"):
        raise SurefootError(f"'{path}' does not name a function; write MODULE:FUNCTION.")
    plain = Path(module.removesuffix(".py")).name.lstrip(".")
    if module.endswith(".py") or "/" in module or module.startswith("."):
        raise SurefootError(
            f"'{path}': write the module's name, {plain}:{name}, not its file; "
            "the folder that surefoot is called in, and PYTHONPATH, are searched."
        )
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module and not module.startswith(f"{error.name}."):
            raise
        raise SurefootError(
            f"'{path}': there is no module '{module}' in this folder or among the installed packages."
        ) from error
    finally:
        if added:
            sys.path.remove(folder)
    for part in name.split("."):
        if not hasattr(found, part):
            near = get_close_matches(part, dir(found), n=1, cutoff=0.5)
            guess = f" Did you mean '{near[0]}'?" if near else ""
            raise SurefootError(f"'{path}': module '{module}' has no '{part}'.{guess}")
        found = getattr(found, part)
    return found


@contextmanager
def compiling(what: str) -> Iterator[None]:
    """Inside, a user's function is compiled; raises :class:`SurefootError` about ``what`` if it cannot be."""
    import jax

    try:
        yield
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise SurefootError(
            f"{what} cannot be compiled; write it with jax.numpy in the place of NumPy, and without branches "
            "on values."
        ) from error
