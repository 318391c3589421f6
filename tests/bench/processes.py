"""A command with what it took, its children included."""

import contextlib
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Taken:
    """What a command took."""

    seconds: float
    """Of the clock, starting and importing included."""
    processor_seconds: float
    """Of all processes, so that what else runs on the machine counts little."""
    memory: float
    """Peak in MiB over all processes; what they share counts once."""


def run_measured(command: list[str]) -> Taken:
    """Runs a command to its end."""
    before, started = os.times(), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done, peaks = threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(_EVERY):
            peaks.append(_memory(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    seconds = time.monotonic() - started
    done.set()
    watcher.join()
    if status != 0:
        raise subprocess.CalledProcessError(status, command)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Taken(seconds, used, max(peaks))


def find_tree(process: int) -> list[int]:
    """Returns a process, those that it has started, and theirs."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # It has just ended.
        return []
    return [process, *(each for child in children for each in find_tree(int(child)))]


def count_processor_seconds(process: int) -> float:
    """Returns what a process and those that it has started have taken, as long as they run."""
    total = 0
    for each in find_tree(process):
        with contextlib.suppress(OSError):  # It has just ended.
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _memory(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # It has just ended.
        return 0.0
    shares = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
    return sum(shares) / 1024 + sum(_memory(int(child)) for child in children)
