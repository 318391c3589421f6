"""Runs the levels of the test suite, cheapest first, and sums them up: `python3 -m tests.run [LEVEL ...]`."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


def cluster() -> None:
    """The real cluster, with the operator in it."""
    call("make", "--no-print-directory", "images", "up", "deploy", "queue")


def train(begun: "list[Beside]") -> None:
    """Real trainings of tiny models through the real entry point."""
    for one in begun:
        status = one.process.wait()
        print(one.log.read_text(), flush=True)
        one.command.check(status)


def e2e() -> None:
    """Everything, on the real cluster."""
    pytest("dev", "e2e", HANDLE / "run", CUSTOMIZER_TEST_MODELS=models())


LEVELS: dict[str, Callable[..., None]] = {level.__name__: level for level in (lint, unit, api, cluster, train, e2e)}

_SECOND_CHANCE = ("--reruns=1", "--rerun-show-tracebacks")
"""Real servers on a machine that others share: what fails is run once more, and the summary says how it failed."""

_AT_A_TIME = {"unit": 2, "api": 3, "automodel": 2, "unsloth": 1, "e2e": 2}
"""Test files that run side by side on two cores: tests of real servers and trainings wait a lot, those of the apiserver
most; two of e2e have as many engines as 16 GB hold."""

_BY_FILE = ("--dist=loadfile", "--no-loadscope-reorder")
"""A file's tests share what they made. In the order of names the files that take long are not the last."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is called, and with which environment."""

    words: tuple[str | Path, ...]
    variables: dict[str, str]

    def start(self, log: int | None = None) -> "subprocess.Popen[bytes]":
        """Starts it; what it prints goes to an open file, or to where this run prints."""
        # Where this is set, every rank of every training would compile all of torch and transformers anew.
        compiled = {"PYTHONDONTWRITEBYTECODE": ""}
        environment = {**os.environ, **compiled, "PYTHONPATH": _SOURCES, **self.variables}
        return subprocess.Popen(
            self.words, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=log is not None
        )

    def check(self, status: int) -> None:
        """Ends the run if it has failed."""
        if status != 0:
            sys.exit(f"{' '.join(map(str, self.words))}: exit status {status}")

    def run(self) -> None:
        """Runs it and ends the run if it fails."""
        self.check(self.start().wait())


def call(*words: str | Path, **variables: str) -> None:
    """Runs a command and ends the run if it fails."""
    Command(words, variables).run()


def pytest(environment: str, level: str, *wrapper: str | Path, **variables: str) -> None:
    """Runs the tests of one folder."""
    build_pytest(environment, level, *wrapper, **variables).run()


def build_pytest(environment: str, level: str, *wrapper: str | Path, **variables: str) -> Command:
    """Builds the command that runs the tests of one folder with coverage, which `summarize` adds up."""
    python = environments.make(environment) / "bin" / "python"
    # `-P`: the working directory must not shadow the standard library (operator/ is a folder here).
    words = [
        *wrapper,
        python,
        "-P",
        "-m",
        "pytest",
        f"tests/{level}",
        "--cov",
        "--cov-report=",
        "--durations=12",
        f"--numprocesses={_AT_A_TIME.get(level) or _AT_A_TIME[environment]}",
        *_BY_FILE,
        *(() if level == "unit" else _SECOND_CHANCE),
    ]
    return Command(tuple(words), {"COVERAGE_FILE": str(REPORTS / f".coverage.{level}.{environment}"), **variables})


@dataclass(frozen=True, slots=True)
class Beside:
    """A command that runs beside others; what it prints is shown when it has ended."""

    command: Command
    process: "subprocess.Popen[bytes]"
    log: Path


@contextmanager
def trainings(*backends: str) -> Iterator[list[Beside]]:
    """Begins tests of backends, which take what others leave idle; ends them if the run ends first."""
    # What runs in the io image runs here in an environment without torch, too.
    io = environments.make("dev") / "bin" / "python"
    begun = []
    for backend in backends:
        variables = {"CUSTOMIZER_TEST_MODELS": models(), "CUSTOMIZER_TEST_IO_PYTHON": str(io)}
        command = build_pytest(backend, "train", "nice", "-n", "10", **variables)
        log = REPORTS / f"train.{backend}.log"
        with log.open("wb") as stream:
            begun.append(Beside(command, command.start(stream.fileno()), log))
        say(f"trainings of {backend} have begun; they print to {log.relative_to(REPOSITORY)}")
    try:
        yield begun
    finally:
        for one in begun:
            if one.process.poll() is None:
                os.killpg(one.process.pid, signal.SIGINT)
                one.process.wait()


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


def run(chosen: list[str]) -> dict[str, float]:
    """Runs levels one after the other, trainings beside those that come before; returns the seconds of each."""
    seconds = {}
    with trainings(*(("automodel", "unsloth") if "train" in chosen else ())) as begun:
        for name in chosen:
            with step(f"{name}: {(LEVELS[name].__doc__ or '').rstrip('.')}"):
                started = time.monotonic()
                LEVELS[name](*([begun] if name == "train" else []))
                seconds[name] = time.monotonic() - started
    return seconds


def main() -> None:
    """Runs the levels that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("levels", nargs="*", help=f"any of {', '.join(LEVELS)}, bench; all tests when none is named")
    named = parser.parse_args().levels
    if named == ["bench"]:
        bench()
        return
    if unknown := set(named) - set(LEVELS):
        parser.error(f"no such level: {', '.join(sorted(unknown))}; there are {', '.join(LEVELS)}, bench")
    chosen = [name for name in LEVELS if not named or name in named or (name == "cluster" and "e2e" in named)]
    REPORTS.mkdir(exist_ok=True)
    for old in REPORTS.glob(".coverage*"):
        old.unlink()
    summarize(run(chosen))


if __name__ == "__main__":
    main()
