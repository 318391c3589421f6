"""The cluster's long-running programs.

A program is known by a variable in its environment, not by a file that holds its pid: so nothing is forgotten when
this one is killed between starting a program and writing that down, and no stranger that got a reused pid is ended.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tests.cluster.console import wait_until
from tests.cluster.settings import STATE

_MARK = "CUSTOMIZER_CLUSTER_PROCESS"
_LOGS = STATE / "logs"
_DEAD_AFTER = 2.0
"""Seconds after which a program that is not to be seen has ended."""


class ProcessDiedError(RuntimeError):
    """A program of the cluster ended while the cluster needed it."""

    def __init__(self, name: str) -> None:
        log = _LOGS / f"{name}.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
        super().__init__(f"{name} ended; the end of {log}:\n{tail}")


def start(name: str, *command: str | Path, namespace: str | None = None) -> None:
    """Starts a program in the background, in a network namespace, unless it runs already.

    It enters the namespace with nsenter: `ip netns exec` would remount /sys and hide the control groups.
    """
    if is_running(name):
        return
    _LOGS.mkdir(parents=True, exist_ok=True)
    enter = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
    with (_LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*enter, *(str(part) for part in command)],
            env={**os.environ, _MARK: f"{STATE}:{name}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # The kernel shows the environment of a new program a moment after it lets the parent go on.
    wait_until(f"{name} to start", lambda: is_running(name) or process.poll() is not None, 5, interval=0.01)


def is_running(name: str) -> bool:
    """Whether the program that was started under this name is alive."""
    return any(True for _ in _find(_mark(name), leaders_only=True))


def require(name: str, holds: Callable[[], bool]) -> Callable[[], bool]:
    """Wraps a question so that it fails at once when the program that it depends on has died."""

    def answer() -> bool:
        # A program has no environment while nsenter makes way for it, which takes long on a busy machine.
        deadline = time.monotonic() + _DEAD_AFTER
        while not is_running(name):
            if time.monotonic() > deadline:
                raise ProcessDiedError(name)
            time.sleep(0.05)
        return holds()

    return answer


def stop(*names: str, grace: float = 10.0) -> None:
    """Ends programs by name, all at once, and waits until they are gone."""
    _end([_mark(name) for name in names], leaders_only=True, grace=grace)


def stop_all(grace: float = 5.0) -> None:
    """Ends whatever still carries the mark of this cluster, children included."""
    _end([_mark("")], leaders_only=False, grace=grace)


def family() -> set[int]:
    """Returns the pids of every program of the cluster and of all their descendants, containers included."""
    parents = {pid: _parent(pid) for pid in _pids()}
    ours = set(_find(_mark(""), leaders_only=False))
    while grown := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= grown
    return ours


def _end(marks: Sequence[str], leaders_only: bool, grace: float) -> None:
    for wanted, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + patience
        found = _signal(marks, leaders_only, wanted)
        while found and time.monotonic() < deadline:
            time.sleep(0.05)
            found = any(True for mark in marks for _ in _find(mark, leaders_only))
        if not found:
            return


def _signal(marks: Sequence[str], leaders_only: bool, wanted: signal.Signals) -> bool:
    sent = False
    for mark in marks:
        for pid in _find(mark, leaders_only):
            with suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                try:
                    # The handle pins the process: if the mark is still there now, this is the one, whatever pid reuse.
                    if _carries(pid, mark):
                        signal.pidfd_send_signal(handle, wanted)
                        sent = True
                finally:
                    os.close(handle)
    return sent


def _mark(name: str) -> str:
    return f"{_MARK}={STATE}:{name}"


def _find(mark: str, leaders_only: bool) -> Iterator[int]:
    for pid in _pids():
        if pid != os.getpid() and _carries(pid, mark) and (not leaders_only or _session(pid) == pid):
            yield pid


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    try:
        # The name of the program, in parentheses, may hold spaces; the parent is the second field after it.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _carries(pid: int, mark: str) -> bool:
    """Whether the process has the variable; a mark without a name stands for every program of the cluster."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    wanted = mark.encode()
    return any(v.startswith(wanted) if mark.endswith(":") else v == wanted for v in variables)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
