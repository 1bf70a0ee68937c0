"""Makes our environments known to Gymnasium without importing it for those who do not use it.

Importing Gymnasium takes longer than the whole of ``surefoot --help``, and since version 1.0 it looks
for no plug-ins of its own accord. So we wait: when Gymnasium is imported, we register right after.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


def register_when_imported() -> None:
    """Registers now if Gymnasium is loaded, else when it is; after this, either order of imports will do."""
    if "gymnasium" in sys.modules:
        _register()
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def _register() -> None:
    from surefoot.envs import register_envs

    register_envs()


class _Watch(MetaPathFinder):
    """Sees the import of Gymnasium coming and wraps its loader into a :class:`_Then`."""

    def __init__(self) -> None:
        self.asking = False

    def find_spec(
        self, fullname: str, path: Iterable[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "gymnasium" or self.asking:
            return None
        self.asking = True  # the next line asks every finder, this one included
        try:
            spec = find_spec(fullname)
        finally:
            self.asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader, self)
        return spec


class _Then(Loader):
    """Loads as the given loader does, then registers; from then on nobody seems to have stepped in."""

    def __init__(self, loader: Loader, watch: _Watch) -> None:
        self.loader = loader
        self.watch = watch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        if self.watch in sys.meta_path:
            sys.meta_path.remove(self.watch)
        _register()
