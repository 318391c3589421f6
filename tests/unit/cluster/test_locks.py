"""A lock outlives the run that took it for as long as a program of that run goes on."""

import subprocess
import sys
import time
from pathlib import Path

from tests.cluster import settings
from tests.cluster.locks import exclusive

HOLDER = """
from pathlib import Path
from tests.cluster.commands import run
from tests.cluster.locks import exclusive
with exclusive(Path({lock!r})):
    run("sh", "-c", "touch {lock}.held; exec sleep 1")
"""


def test_a_killed_run_keeps_its_lock_until_its_programs_end(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    command = [sys.executable, "-P", "-c", HOLDER.format(lock=str(lock))]
    with subprocess.Popen(command, cwd=settings.REPOSITORY, env={"PYTHONPATH": str(settings.REPOSITORY)}) as holder:
        while not Path(f"{lock}.held").exists():
            assert holder.poll() is None
        holder.kill()
    started = time.monotonic()
    with exclusive(lock):
        assert time.monotonic() - started > 0.5
    with exclusive(lock):
        pass
