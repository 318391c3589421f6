"""What an operator's process takes, and what it asks of the apiserver."""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = ("create", "update", "patch", "delete", "deletecollection")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Use:
    """What a process has taken so far."""

    processor_seconds: float
    memory: float
    """MiB that are resident now."""
    peak_memory: float
    """MiB."""


def read_use(process: int) -> Use:
    """Reads what a process has taken. Raises OSError when it has ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    sizes = {
        name: int(rest.split()[0]) / 1024
        for name, _, rest in (line.partition(":") for line in lines)
        if rest and name in ("VmRSS", "VmHWM")
    }
    return Use((int(fields[11]) + int(fields[12])) / _TICKS, sizes["VmRSS"], sizes["VmHWM"])


class Audit:
    """Reads the apiserver's audit log on, from where it was at the beginning."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = log.stat().st_size if log.exists() else 0

    def read(self) -> Counter[str]:
        """Returns how often the operator has asked what since the last time: `verb resource`. Leases do not count."""
        calls: Counter[str] = Counter()
        with self._log.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # It is being written.
                    break
                self._offset += len(line)
                entry = json.loads(line)
                if entry["stage"] == "ResponseComplete" and (what := _describe(entry)) is not None:
                    calls[what] += 1
        return calls


def count_writes(calls: Counter[str]) -> int:
    """Counts the calls that change something."""
    return sum(number for what, number in calls.items() if what.split()[0] in WRITES)


def _describe(entry: Any) -> str | None:
    reference = entry.get("objectRef") or {}
    resource = reference.get("resource")
    if resource in (None, "leases"):
        return None
    subresource = reference.get("subresource")
    return f"{entry['verb']} {resource}" + (f"/{subresource}" if subresource else "")
