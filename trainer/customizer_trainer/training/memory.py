"""What a rank holds, and whether the kernel has killed a process of this container for its memory."""

import resource
from pathlib import Path

_EVENTS = Path("/sys/fs/cgroup/memory.events")


def peak_bytes() -> int:
    """Returns the most memory of the host that this process has held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def count_kills(events: Path = _EVENTS) -> int:
    """Returns how often it has, as the container's control group counts; 0 where nobody counts."""
    if not events.exists():
        return 0
    counters = dict(line.split() for line in events.read_text().splitlines())
    return int(counters.get("oom_kill", "0"))
