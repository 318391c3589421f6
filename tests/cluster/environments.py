"""Python environments for this machine, outside the tree and keyed by what they are made of.

`python3 -m tests.cluster.environments NAME` makes one and prints its folder.
"""

import sys
from pathlib import Path

from tests.cluster import packages
from tests.cluster.commands import run
from tests.cluster.console import say, step
from tests.cluster.files import digest, make_once
from tests.cluster.locks import exclusive
from tests.cluster.settings import CACHE, REPOSITORY

UV_VERSION = "0.13.9"
"""The version that the images' Dockerfiles install, too."""

SELECTIONS = {
    "dev": ("--extra", "operator", "--extra", "io", "--extra", "cli", "--group", "dev", "--group", "operator"),
    "automodel": ("--extra", "automodel", "--extra", "operator", "--group", "dev"),
    "unsloth": ("--extra", "unsloth", "--extra", "operator", "--group", "dev"),
    "models": ("--extra", "automodel", "--group", "models"),
    "servers": ("--group", "servers"),
}
"""What each environment holds beside the project's own dependencies."""


def make(name: str) -> Path:
    """Returns the folder of an environment that holds exactly what uv.lock pins for it; sources come by PYTHONPATH."""
    selection = SELECTIONS[name]
    pins = _export(selection)
    folder = CACHE / "venv" / f"{name}-{digest(pins)}"
    with exclusive(folder.with_name(f"{folder.name}.lock")):
        if not (folder / "complete").exists():
            with step(f"making the Python environment {name}"):
                _fill(folder, pins)
            (folder / "complete").touch()
    return folder


def uv() -> Path:
    """Returns the program uv, installed from the package index if need be."""

    def install(folder: Path) -> None:
        packages.require(*packages.PYTHON)
        with step(f"installing uv {UV_VERSION}"):
            run("/usr/bin/python3", "-m", "venv", folder / "venv")
            run(folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", f"uv=={UV_VERSION}")
            # The wheel's program stands alone: unlike the environment around it, it works under another path too.
            (folder / "uv").hardlink_to((folder / "venv" / "bin" / "uv").resolve())

    return make_once(CACHE / "uv" / UV_VERSION, install) / "uv"


def _export(selection: tuple[str, ...]) -> str:
    """Returns the pins of a selection; the key of its environment, so that other changes of the lock leave it alone."""
    form = ("--frozen", "--no-default-groups", "--no-emit-project", "--no-annotate", "--no-header")
    return run(uv(), "export", *form, *selection, cwd=REPOSITORY)


def _fill(folder: Path, pins: str) -> None:
    system = {"VIRTUAL_ENV": str(folder), "UV_SYSTEM_CERTS": "true"}
    run(uv(), "venv", "--quiet", "--clear", "--python", "/usr/bin/python3", folder, environment=system)
    install = (uv(), "pip", "install", "--quiet", "--no-deps", "--requirements", "-")
    run(*install, environment=system, stdin=pins)


def main() -> int:
    """Makes the environments named on the command line and prints their folders."""
    names = sys.argv[1:]
    if not names or not set(names) <= set(SELECTIONS):
        say(f"usage: python3 -m tests.cluster.environments {{{'|'.join(SELECTIONS)}}}")
        return 2
    for name in names:
        print(make(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
