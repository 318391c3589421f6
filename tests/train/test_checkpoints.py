"""No more is lost than lies between two checkpoints, whatever happens to the object store."""

from pathlib import Path

from customizer_contract.job import Job
from tests.train.conftest import StorageServer
from tests.train.harness import Pod, Storage, build_job
from tests.train.pods import checkpoint_exists, fetch, train

STEPS = 4


def job(storage: Storage, name: str) -> Job:
    return build_job(
        storage,
        name,
        data="s3://tests/data/pairs",
        checkpoint_minutes=0.0001,
        training={"maxSeqLength": 64},
        schedule={"maxSteps": STEPS},
        batch={"globalBatchSize": 8, "microBatchSize": 4},
        parallelism={"numGpusPerNode": 2},
    )


def test_a_checkpoint_is_due_when_the_time_is_over_and_waits_for_a_store_that_is_away(
    storage_server: StorageServer, storage: Storage, tmp_path: Path
) -> None:
    asked = job(storage, "away")
    pod = Pod(tmp_path, asked, storage)
    fetch(pod)
    running = train(pod)
    running.until(lambda: checkpoint_exists(storage, asked, 1, attempt=1))
    storage_server.stop()
    try:
        running.until(lambda: "trying again to upload" in running.log.read_text())
    finally:
        storage_server.start()
    outcome = running.wait()
    assert outcome.code == 0, outcome.log
    assert sorted(pod.saved(1)) == list(range(1, STEPS + 1))
    assert outcome.result.training.checkpoint_step == STEPS
    assert checkpoint_exists(storage, asked, STEPS, attempt=1)
