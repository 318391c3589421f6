import sys
from pathlib import Path

import pytest

from customizer_trainer.training.launch import Place, build_command, build_environment, count_cores, read_place


def test_the_place_is_read_from_torchrun_s_variables() -> None:
    environment = {"PET_NODE_RANK": "1", "PET_MASTER_ADDR": "job-a1-worker-0", "PET_MASTER_PORT": "23456"}
    assert read_place(environment, nodes=2, processes=4) == Place(1, 2, 4, "job-a1-worker-0", 23456)


def test_alone_no_variable_is_needed() -> None:
    place = read_place({}, nodes=1, processes=1)
    assert (place.node, place.master) == (0, "127.0.0.1")
    assert place.port > 0


def test_torchrun_meets_at_a_fixed_place() -> None:
    command = build_command(Place(1, 2, 4, "job-a1-worker-0", 23456), "package.module", ["recipe"], Path("/output"))
    assert command[0] == sys.executable
    assert command[-3:] == ["-m", "package.module", "recipe"]
    options = dict(option.removeprefix("--").split("=", 1) for option in command if option.startswith("--"))
    assert options == {
        "nnodes": "2",
        "nproc-per-node": "4",
        "node-rank": "1",
        "master-addr": "job-a1-worker-0",
        "master-port": "23456",
        "rdzv-conf": "timeout=1800",
        "log-dir": "/output",
        "tee": "3",
    }


def test_ranks_share_the_cores_and_do_not_see_torchrun_s_variables() -> None:
    environment = build_environment({"PET_NNODES": "2", "HOME": "/tmp"}, Place(0, 1, 2, "m", 1), cores=8)
    assert environment["OMP_NUM_THREADS"] == "4"
    assert environment["HOME"] == "/tmp"
    assert "PET_NNODES" not in environment
    assert build_environment({"OMP_NUM_THREADS": "1"}, Place(0, 1, 2, "m", 1), cores=8)["OMP_NUM_THREADS"] == "1"


CORES = {
    "no limit": (8, "max 100000", 8),
    "no control group": (8, "", 8),
    "two cores": (8, "200000 100000\n", 2),
    "half a core is one": (8, "50000 100000", 1),
    "one and a half are one": (8, "150000 100000", 1),
    "more than there are": (2, "800000 100000", 2),
}


@pytest.mark.parametrize(("affinity", "quota", "expected"), CORES.values(), ids=CORES.keys())
def test_cores_are_counted(affinity: int, quota: str, expected: int) -> None:
    assert count_cores(affinity, quota) == expected
