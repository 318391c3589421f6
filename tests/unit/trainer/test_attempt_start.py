"""What an attempt settles before its first step: where all nodes go on from, and which checkpoints are none."""

from argparse import Namespace
from pathlib import Path
from typing import Any, cast

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_contract.result import Problem, Result
from customizer_contract.sources import FILE_SCHEME
from customizer_trainer.checkpoints import Checkpoint, CheckpointStore
from customizer_trainer.commands import train
from customizer_trainer.commands.fetch import Fetched, Resume
from customizer_trainer.outcome import CommandFailedError
from customizer_trainer.storage.folder import Folder
from customizer_trainer.workspace import Workspace
from tests.support import samples
from tests.unit.trainer.conftest import build_job

FACTS = Result.model_validate_json(samples.passed()).dataset
assert FACTS is not None
OLDER, NEWER = (Checkpoint(step=step, attempt=1, nodes=1) for step in (1, 2))


def fetched(job: Job, folder: Path, start: Checkpoint, damaged: list[Checkpoint]) -> Workspace:
    """Returns a workspace as `fetch` leaves it."""
    folder.mkdir()
    left = Fetched(
        job_uid=job.uid,
        model=folder,
        samples=folder,
        dataset=FACTS,
        resume=Resume(checkpoint=start, folder=folder),
        damaged=damaged,
    )
    workspace = Workspace(folder)
    workspace.fetched.write_text(left.to_json())
    return workspace


def start(job: Job, workspace: Workspace, node: int) -> Problem:
    """Runs an attempt to the point where its ranks would be started; returns what ended it."""
    viewer = cast(Any, Namespace(show=lambda training: None, close=lambda: None))
    with pytest.raises(CommandFailedError) as raised:
        train.run(job, workspace, 2, {"PET_NODE_RANK": str(node), "PET_MASTER_PORT": "1"}, lambda training: viewer)
    assert raised.value.result.error is not None
    return raised.value.result.error


@pytest.fixture(autouse=True)
def no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise CustomizerError(Reason.PREEMPTED, "the ranks would start now")

    monkeypatch.setattr(train, "_train", stop)


def test_a_node_that_would_go_on_from_another_checkpoint_starts_no_ranks(tmp_path: Path) -> None:
    two = {"parallelism": {"numNodes": 2}}
    job = build_job(artifactUri=f"{FILE_SCHEME}{tmp_path}/out", automodel=two)
    assert start(job, fetched(job, tmp_path / "0", NEWER, []), 0).reason is Reason.PREEMPTED
    problem = start(job, fetched(job, tmp_path / "1", OLDER, [NEWER]), 1)
    assert problem.reason is Reason.CRASHED
    assert problem.message.startswith("Node 1 would go on from step-00000001-a1")


@pytest.mark.parametrize(("node", "left"), [(0, [OLDER]), (1, [OLDER, NEWER])])
def test_node_0_forgets_damaged_checkpoints_before_the_first_step(
    tmp_path: Path, node: int, left: list[Checkpoint]
) -> None:
    job = build_job(artifactUri=f"{FILE_SCHEME}{tmp_path}/out")
    store, part = CheckpointStore(Folder(), job), tmp_path / "part"
    part.mkdir()
    (part / "weights").touch()
    for checkpoint in (OLDER, NEWER):
        store.upload_part(checkpoint, 0, part)
        assert store.complete(checkpoint, lambda: False)
    assert start(job, fetched(job, tmp_path / "pod", OLDER, [NEWER]), node).reason is Reason.PREEMPTED
    assert sorted(store.list_complete(), key=lambda each: each.step) == left
