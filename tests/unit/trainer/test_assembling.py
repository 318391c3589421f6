"""What node 0 publishes when checkpoints are damaged."""

import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

import pytest

from customizer_contract.errors import CustomizerError
from customizer_contract.sources import FILE_SCHEME
from customizer_trainer.checkpoints import Checkpoint, CheckpointStore
from customizer_trainer.commands import train
from customizer_trainer.publishing import describe_doubts
from customizer_trainer.storage.folder import Folder
from customizer_trainer.training.uploads import Uploader
from customizer_trainer.workspace import AttemptFolder
from tests.unit.trainer.conftest import build_job

NOT_HERE = cast(Uploader, Namespace(local_folder=lambda checkpoint: None))


def save(store: CheckpointStore, folder: Path, step: int, loss: float) -> Path:
    """Stores a checkpoint of one file; returns where it is stored."""
    checkpoint = Checkpoint(step=step, attempt=1, nodes=1, validation_loss=loss)
    part = folder / checkpoint.name
    part.mkdir()
    (part / "weights").write_text(checkpoint.name)
    store.upload_part(checkpoint, 0, part)
    assert store.complete(checkpoint, lambda: False)
    (stored,) = folder.rglob(f"{checkpoint.name}/node-0/weights")
    return stored


def assemble(job: Any, tmp_path: Path) -> list[Any]:
    fetched = Namespace(model=tmp_path, samples=tmp_path)
    attempt = Namespace(job=job, folder=AttemptFolder(tmp_path / "attempt"), fetched=fetched)
    return [*train._assemble(cast(Any, attempt), CheckpointStore(Folder(), job), NOT_HERE)]


@pytest.mark.parametrize("selection", ["best", "last", "both"])
def test_a_damaged_checkpoint_is_passed_over_in_favour_of_one_that_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, selection: str
) -> None:
    backend = Namespace(published_from="*", assemble=lambda job, local, base, target: None)
    monkeypatch.setattr(train, "find_backend", lambda job: backend)
    monkeypatch.setattr(train, "reload", lambda *_: Namespace(skipped="not here"))
    block = {"schedule": {"checkpointSelection": selection}}
    job = build_job(artifactUri=f"{FILE_SCHEME}{tmp_path}/out", automodel=block)
    store = CheckpointStore(Folder(), job)
    paths = [save(store, tmp_path, step, loss) for step, loss in ((1, 3.0), (2, 2.0), (3, 1.0))]
    paths[2].write_text("damaged")
    made = assemble(job, tmp_path)
    assert [each.checkpoint.step for each in made] == ([2, 2] if selection == "both" else [2])
    assert "Checkpoint step-00000003-a1 is damaged: step-00000002-a1 was published" in describe_doubts(made)[0]
    shutil.rmtree(tmp_path / "attempt")
    for path in paths:
        path.write_text("damaged")
    with pytest.raises(CustomizerError, match="No complete checkpoint"):
        assemble(job, tmp_path)
