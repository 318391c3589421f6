"""What a rank holds, and whether the kernel has killed a process of this container for its memory."""

import resource
from collections.abc import Sequence
from pathlib import Path

_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
"""Of control groups of version 2, and of version 1."""


def peak_bytes() -> int:
    """Returns the most memory of the host that this process has held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def count_kills(counters: Sequence[Path] = _COUNTERS) -> int:
    """Returns how often it has, as the container's control group counts; 0 where nobody counts."""
    for path in counters:
        if path.exists():
            counts = dict(line.split() for line in path.read_text().splitlines())
            return int(counts.get("oom_kill", "0"))
    return 0
