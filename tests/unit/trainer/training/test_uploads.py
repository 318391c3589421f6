import errno
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.checkpoints import Checkpoint, CheckpointStore
from customizer_trainer.storage import patience
from customizer_trainer.training import uploads
from customizer_trainer.training.uploads import Uploader


class Store:
    """Remembers what is done to it; `failures` are raised by the next uploads, `lacks_parts` keeps others waiting."""

    def __init__(self, *failures: Reason | OSError, lacks_parts: bool = False) -> None:
        self.failures = list(failures)
        self.lacks_parts = lacks_parts
        self.uploaded: list[str] = []
        self.completed: list[Checkpoint] = []

    def upload_part(self, checkpoint: Checkpoint, node: int, folder: Path) -> None:
        if self.failures:
            failure = self.failures.pop(0)
            raise failure if isinstance(failure, OSError) else CustomizerError(failure, "as told")
        self.uploaded.append(f"{checkpoint.name}/node-{node}")

    def complete(self, checkpoint: Checkpoint, wait: Callable[[], bool]) -> bool:
        while self.lacks_parts:
            if not wait():
                return False
        self.completed.append(checkpoint)
        return True

    def list_complete(self) -> list[Checkpoint]:
        return self.completed

    def delete(self, checkpoint: Checkpoint) -> None:
        self.completed = [each for each in self.completed if each != checkpoint]


@pytest.fixture(autouse=True)
def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_POLL_SECONDS", "_LEAST_WAIT_SECONDS"):
        monkeypatch.setattr(uploads, name, 0.01)
    monkeypatch.setattr(patience, "_FIRST_PAUSE_SECONDS", 0.01)


def upload(store: Store, folder: Path, *checkpoints: Checkpoint, node: int = 0, gone: bool = False) -> Uploader:
    uploader = Uploader(cast(CheckpointStore, store), node, lambda checkpoint: None, keep=2)
    for checkpoint in checkpoints:
        (folder / checkpoint.name).mkdir()
        uploader.add(checkpoint, folder / checkpoint.name)
    uploader.finish(10, peers_may_be_gone=gone)
    return uploader


def at(step: int, loss: float | None = None) -> Checkpoint:
    return Checkpoint(step=step, attempt=1, nodes=2, validation_loss=loss)


def test_node_0_completes_what_it_has_uploaded_and_deletes_what_nobody_needs(tmp_path: Path) -> None:
    store = Store()
    uploader = upload(store, tmp_path, at(1, 1.0), at(2, 2.0), at(3, 3.0), at(4, 4.0))
    assert uploader.error is None
    assert store.uploaded == [f"{at(step).name}/node-0" for step in (1, 2, 3, 4)]
    assert [checkpoint.step for checkpoint in store.completed] == [1, 3, 4]


def test_other_nodes_only_upload_their_part(tmp_path: Path) -> None:
    store = Store()
    upload(store, tmp_path, at(1), node=1)
    assert (store.uploaded, store.completed) == ([f"{at(1).name}/node-1"], [])


def test_of_what_is_uploaded_only_the_newest_and_the_best_stay_on_the_disk(tmp_path: Path) -> None:
    uploader = upload(Store(), tmp_path, at(1, 2.0), at(2, 1.0), at(3, 3.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [at(2).name, at(3).name]
    assert uploader.local_folder(at(2)) == tmp_path / at(2).name
    assert uploader.local_folder(at(1)) is None


def test_a_store_that_comes_back_is_tried_again(tmp_path: Path) -> None:
    store = Store(Reason.STORAGE_UNAVAILABLE, Reason.STORAGE_UNAVAILABLE)
    assert upload(store, tmp_path, at(1)).error is None
    assert store.completed == [at(1)]


def test_a_store_that_refuses_is_not_tried_again(tmp_path: Path) -> None:
    error = upload(Store(Reason.ACCESS_DENIED), tmp_path, at(1)).error
    assert error is not None
    assert error.reason is Reason.ACCESS_DENIED


def test_a_disk_that_fails_ends_nothing_unnoticed(tmp_path: Path) -> None:
    store = Store(OSError(errno.ENOSPC, "No space left on device"))
    uploader = Uploader(cast(CheckpointStore, store), 0, lambda checkpoint: None, keep=2)
    uploader.add(at(1), tmp_path)
    assert not uploader.finish(10, peers_may_be_gone=False)
    assert uploader.error is not None
    assert uploader.error.reason is Reason.DISK_FULL


def test_nodes_that_are_gone_are_not_waited_for(tmp_path: Path) -> None:
    error = upload(Store(lacks_parts=True), tmp_path, at(1), gone=True).error
    assert error is not None
    assert error.reason is Reason.PEER_LOST
