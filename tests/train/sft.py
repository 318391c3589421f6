"""A training of all weights whose losses are compared, however it is spread or interrupted."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customizer_contract.job import Job
from tests.support.ports import free_port
from tests.train.harness import Outcome, Pod, Running, Storage, build_job
from tests.train.pods import fetch, train

SFT: dict[str, Any] = {
    "training": {"finetuningType": "all_weights", "maxSeqLength": 64},
    "schedule": {"epochs": 3},
    "batch": {"globalBatchSize": 8, "microBatchSize": 1},
    "optimizer": {"learningRate": 0.003, "warmupSteps": 2},
}
"""24 steps; validated and saved after each epoch of 8."""
STEPS = 24


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training."""

    pod: Pod
    outcome: Outcome

    @property
    def losses(self) -> dict[int, float]:
        """The loss of each step."""
        return self.pod.losses(1)


@dataclass(frozen=True, slots=True)
class Node:
    """One of the pods of an attempt."""

    pod: Pod
    running: Running

    def kill(self, attempt: int) -> None:
        """Ends the pod as the kernel does: all its processes, at once."""
        self.running.process.kill()
        for pid in self.pod.rank_pids(attempt):
            os.kill(pid, signal.SIGKILL)
        self.running.process.wait()


def sft_job(
    storage: Storage, name: str, *, nodes: int = 1, processes: int = 1, checkpoint_every: int | None = None
) -> Job:
    """Builds the job, to be done by so many nodes with so many processes each."""
    spread = {"numNodes": nodes, "numGpusPerNode": processes}
    data = "s3://tests/data/pairs"
    return build_job(storage, name, data=data, checkpoint_every=checkpoint_every, **SFT, parallelism=spread)


def train_unbroken(storage: Storage, name: str, disk: Path) -> Trained:
    """Trains in one process, from the first step to the last."""
    pod = Pod(disk, sft_job(storage, name), storage)
    fetch(pod)
    outcome = train(pod).wait()
    assert outcome.code == 0, outcome.log
    return Trained(pod, outcome)


def start_nodes(disk: Path, job: Job, storage: Storage, attempt: int) -> list[Node]:
    """Starts the nodes of an attempt on disks of their own; they meet on the loopback."""
    meeting = {"PET_NNODES": str(job.outline.nodes), "PET_NPROC_PER_NODE": str(job.outline.processes)}
    meeting |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(free_port())}
    pods = [
        Pod(disk / str(node), job, storage, {**meeting, "PET_NODE_RANK": str(node)})
        for node in range(job.outline.nodes)
    ]
    fetch(*pods)
    return [Node(pod, train(pod, attempt)) for pod in pods]
