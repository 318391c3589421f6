"""Runs the levels of the test suite, cheapest first, and sums them up: `python3 -m tests.run [LEVEL ...]`."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster import environments
from tests.cluster.console import say, step
from tests.cluster.settings import HANDLE, REPOSITORY
from tests.models.__main__ import folder as models

REPORTS = REPOSITORY / ".reports"
"""Coverage and logs of the newest run; git ignores it."""

_SOURCES = ":".join(str(REPOSITORY / folder) for folder in ("operator", "trainer", "."))
"""Where processes that tests start find the packages."""


def lint() -> None:
    """Style, types, the architecture's contracts, and drift of what is generated."""
    tools = environments.make("dev") / "bin"
    call(tools / "ruff", "check", ".")
    call(tools / "ruff", "format", "--check", ".")
    call(tools / "mypy")
    call(tools / "mypy", "--explicit-package-bases", "tests/cluster", "tests/demo", "tests/support", "tests/run.py")
    call(tools / "lint-imports")
    call(environments.uv(), "lock", "--check")


def unit() -> None:
    """Pure decisions, as tables."""
    pytest("dev", "unit")


def api() -> None:
    """The operator against a real apiserver, under its own rights."""
    pytest("dev", "api")


def train() -> None:
    """Real trainings of tiny models through the real entry point."""
    # What runs in the io image runs here in an environment without torch, too.
    io = environments.make("dev") / "bin" / "python"
    for backend in ("automodel", "unsloth"):
        pytest(backend, "train", CUSTOMIZER_TEST_MODELS=models(), CUSTOMIZER_TEST_IO_PYTHON=str(io))


def e2e() -> None:
    """Everything, on the real cluster."""
    call("make", "--no-print-directory", "images", "up", "deploy", "queue")
    pytest("dev", "e2e", HANDLE / "run", CUSTOMIZER_TEST_MODELS=models())


_SECOND_CHANCE = ("--reruns=1", "--rerun-show-tracebacks")
"""Real servers on a machine that others share: what fails is run once more, and the summary says how it failed."""

_AT_A_TIME = {"unit": 2, "api": 3, "train": 2, "e2e": 2}
"""Test files that run side by side on two cores: tests of real servers and trainings wait a lot, those of the apiserver
most; two of e2e have as many engines as 16 GB hold."""

_BY_FILE = ("--dist=loadfile", "--no-loadscope-reorder")
"""A file's tests share what they made. In the order of names the files that take long are not the last."""

LEVELS: dict[str, Callable[[], None]] = {level.__name__: level for level in (lint, unit, api, train, e2e)}


def pytest(environment: str, level: str, *wrapper: Path, **variables: str) -> None:
    """Runs the tests of one folder with coverage, which `summarize` adds up."""
    python = environments.make(environment) / "bin" / "python"
    # `-P`: the working directory must not shadow the standard library (operator/ is a folder here).
    command: list[str | Path] = [
        *wrapper,
        python,
        "-P",
        "-m",
        "pytest",
        f"tests/{level}",
        "--cov",
        "--cov-report=",
        "--durations=12",
        f"--numprocesses={_AT_A_TIME[level]}",
        *_BY_FILE,
        *(() if level == "unit" else _SECOND_CHANCE),
    ]
    call(*command, COVERAGE_FILE=str(REPORTS / f".coverage.{level}.{environment}"), **variables)


def call(*command: str | Path, **variables: str) -> None:
    """Runs a command and ends the run if it fails."""
    # Where this is set, every rank of every training would compile all of torch and transformers anew.
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}
    environment = {**os.environ, **compiled, "PYTHONPATH": _SOURCES, **variables}
    status = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {status}")


def summarize(seconds: dict[str, float]) -> None:
    """Prints the coverage of all levels together, and what each took."""
    coverage = environments.make("dev") / "bin" / "coverage"
    files = sorted(REPORTS.glob(".coverage.*"))
    if files:
        total = {"COVERAGE_FILE": str(REPORTS / ".coverage")}
        call(coverage, "combine", "--keep", "--quiet", *files, **total)
        call(coverage, "report", "--skip-covered", "--skip-empty", **total)
    for level, took in seconds.items():
        say(f"{level}: passed in {took:.0f} s")


def bench() -> None:
    """Measures and prints ratios; never part of a test run."""
    call(environments.make("automodel") / "bin" / "python", "-P", "-m", "tests.bench", models())
    call("make", "--no-print-directory", "images", "up", "deploy")
    call(HANDLE / "run", environments.make("dev") / "bin" / "python", "-P", "-m", "tests.bench.adapters", models())


def main() -> None:
    """Runs the levels that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("levels", nargs="*", help=f"any of {', '.join(LEVELS)}, bench; all tests when none is named")
    chosen = parser.parse_args().levels or list(LEVELS)
    if chosen == ["bench"]:
        bench()
        return
    if unknown := set(chosen) - set(LEVELS):
        parser.error(f"no such level: {', '.join(sorted(unknown))}; there are {', '.join(LEVELS)}, bench")
    REPORTS.mkdir(exist_ok=True)
    for old in REPORTS.glob(".coverage*"):
        old.unlink()
    seconds = {}
    for name in chosen:
        with step(f"{name}: {(LEVELS[name].__doc__ or '').rstrip('.')}"):
            started = time.monotonic()
            LEVELS[name]()
            seconds[name] = time.monotonic() - started
    summarize(seconds)


if __name__ == "__main__":
    main()
