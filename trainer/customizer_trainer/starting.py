"""Starts what needs large libraries: `python -m customizer_trainer.starting MODULE [ARGUMENT ...]`.

Imports make hundreds of thousands of objects and next to no garbage, but the collector looks through them again and
again: a fifth to a quarter of the time that torch and a backend take to be imported.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def uncollected() -> Iterator[None]:
    """Keeps the collector off imports, and off what was imported ever after, since it stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def build_command(module: str, *arguments: str) -> list[str]:
    """Builds the command that imports a module and calls its `main`, which finds the arguments in `sys.argv[1:]`."""
    return [sys.executable, "-P", "-m", __name__, module, *arguments]


def main() -> int | None:
    """Imports the module that is named and calls its `main`."""
    del sys.argv[0]
    with uncollected():
        module = import_module(sys.argv[0])
    status: int | None = module.main()
    return status


if __name__ == "__main__":
    sys.exit(main())
