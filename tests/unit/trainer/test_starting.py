"""A module that needs large libraries is imported without the collector, and runs with it."""

import subprocess
from pathlib import Path

from customizer_trainer.starting import build_command
from tests.cluster.settings import REPOSITORY

MODULE = """
import gc
import sys

imported = gc.isenabled()

def main():
    print(imported, gc.isenabled(), gc.get_freeze_count() > 0, *sys.argv)
    return 3
"""


def test_a_module_is_imported_without_the_collector_and_runs_with_it(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text(MODULE)
    environment = {"PYTHONPATH": f"{REPOSITORY / 'trainer'}:{tmp_path}"}
    done = subprocess.run(build_command("heavy", "one", "--two"), env=environment, capture_output=True, check=False)
    assert done.stdout.decode().split() == ["False", "True", "True", "heavy", "one", "--two"], done.stderr
    assert done.returncode == 3
