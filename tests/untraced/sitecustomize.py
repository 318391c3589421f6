"""Keeps the tracer that measures coverage off the imports of others' code, in every process that a test starts.

It is called for each of their functions, though only ours are measured: a fifth of a small training's time.
Python imports this module when it starts, where this folder is on the path.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_OURS = ("customizer_", "tests")


class _Untraced(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            self._loader.exec_module(module)
        finally:
            sys.settrace(tracer)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if sys.gettrace() is None or name.startswith(_OURS):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Untraced(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
