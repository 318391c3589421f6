from pathlib import Path

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.sources import FILE_SCHEME
from customizer_trainer.backends.choice import find_backend
from customizer_trainer.checkpoints import (
    Checkpoint,
    CheckpointStore,
    best,
    bring_first,
    newest,
    sort_by_age,
    sort_by_loss,
    superseded,
)
from customizer_trainer.storage.folder import Folder
from tests.unit.trainer.conftest import build_job


def at(step: int, loss: float | None = None, attempt: int = 1) -> Checkpoint:
    return Checkpoint(step=step, attempt=attempt, nodes=1, validation_loss=loss)


def test_checkpoints_sort_by_step_then_by_attempt_as_numbers() -> None:
    ordered = [at(100), at(10, attempt=10), at(10, attempt=9), at(9, attempt=11)]
    assert sort_by_age(reversed(ordered)) == ordered
    assert at(9).name == "step-00000009-a1"


def test_the_newest_has_the_most_steps() -> None:
    assert newest([at(9), at(100), at(10)]) == at(100)
    assert newest([at(10), at(10, attempt=2)]) == at(10, attempt=2)
    assert newest([at(10, attempt=10), at(10, attempt=9)]) == at(10, attempt=10)
    assert newest([]) is None


BEST = {
    "the lowest validation loss": ([at(1, 3.0), at(2, 1.0), at(3, 2.0)], at(2, 1.0)),
    "of equals the newest": ([at(1, 1.0), at(2, 1.0)], at(2, 1.0)),
    "one that was not validated never beats one that was": ([at(1, 9.0), at(2)], at(1, 9.0)),
    "none was validated: the newest": ([at(1), at(2)], at(2)),
    "as often validated, of attempts 9 and 10": (
        [at(1, 1.0, attempt=10), at(1, 1.0, attempt=9)],
        at(1, 1.0, attempt=10),
    ),
    "none": ([], None),
}


@pytest.mark.parametrize(("checkpoints", "expected"), BEST.values(), ids=BEST.keys())
def test_the_best(checkpoints: list[Checkpoint], expected: Checkpoint | None) -> None:
    assert best(checkpoints) == expected


KEPT = {
    "the last two": (2, [at(1, 5.0), at(3, 2.0)]),
    "the last one": (1, [at(1, 5.0), at(3, 2.0), at(4, 3.0)]),
    "more than there are": (9, []),
}


@pytest.mark.parametrize(("keep", "gone"), KEPT.values(), ids=KEPT.keys())
def test_the_best_is_kept_and(keep: int, gone: list[Checkpoint]) -> None:
    assert superseded([at(1, 5.0), at(2, 1.0), at(3, 2.0), at(4, 3.0), at(5, 4.0)], keep) == gone


def test_what_is_published_is_brought_without_the_optimizer(tmp_path: Path) -> None:
    store = CheckpointStore(Folder(), build_job(artifactUri=f"{FILE_SCHEME}{tmp_path}/out"))
    checkpoint = Checkpoint(step=1, attempt=1, nodes=2)
    for node in range(2):
        for name in (f"model/.hf_metadata/{node}.json", f"model/shard-{node}.safetensors", f"optim/{node}.distcp"):
            path = tmp_path / str(node) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        store.upload_part(checkpoint, node, tmp_path / str(node))

    def bring(name: str, **backend: object) -> list[str]:
        select = find_backend(build_job(**backend)).published_from
        folder = store.download(checkpoint, tmp_path / name, select)
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    assert bring("automodel") == [
        "model/.hf_metadata/0.json",
        "model/.hf_metadata/1.json",
        "model/shard-0.safetensors",
        "model/shard-1.safetensors",
    ]
    assert "optim/0.distcp" in bring("unsloth", automodel=None, unsloth={})


def save(store: CheckpointStore, folder: Path, step: int, attempt: int = 1) -> Checkpoint:
    """Stores a checkpoint of one file."""
    checkpoint = at(step, attempt=attempt)
    part = folder / checkpoint.name
    part.mkdir()
    (part / "weights").write_text(checkpoint.name)
    store.upload_part(checkpoint, 0, part)
    assert store.complete(checkpoint, lambda: False)
    return checkpoint


def damage(folder: Path, checkpoint: Checkpoint) -> None:
    (stored,) = folder.rglob(f"{checkpoint.name}/node-0/weights")
    stored.write_text("damaged")


def test_a_damaged_checkpoint_that_is_forgotten_drives_out_none_that_was_saved_without_it(tmp_path: Path) -> None:
    store = CheckpointStore(Folder(), build_job(artifactUri=f"{FILE_SCHEME}{tmp_path}/out"))
    older, newer = save(store, tmp_path, 50), save(store, tmp_path, 100)
    damage(tmp_path / "out.work", newer)
    damaged: list[Checkpoint] = []
    found = store.download_newest(tmp_path / "resume", damaged.append)
    assert found is not None
    assert (found[0], damaged) == (older, [newer])
    for each in damaged:
        store.forget(each)
    saved = save(store, tmp_path, 60, attempt=2)
    assert superseded(store.list_complete(), keep=1) == [older]
    assert newest(store.list_complete()) == saved
    assert [*tmp_path.rglob(f"out.work/**/{newer.name}/node-0/weights")], "what is left of it stays for who wants it"


def test_what_is_published_is_the_next_best_where_the_best_is_damaged() -> None:
    ordered = sort_by_loss([at(1, 3.0), at(2, 1.0), at(3, 2.0)])

    def bring(checkpoint: Checkpoint) -> Path:
        if checkpoint.step == 2:
            raise CustomizerError(Reason.ARTIFACT_INVALID, "differs")
        return Path(checkpoint.name)

    damaged: list[Checkpoint] = []
    assert bring_first(ordered, bring, damaged.append) == (at(3, 2.0), Path(at(3).name))
    assert damaged == [at(2, 1.0)]
    assert bring_first([at(2)], bring, damaged.append) is None


def test_a_store_that_is_away_is_no_damage() -> None:
    def bring(checkpoint: Checkpoint) -> Path:
        raise CustomizerError(Reason.STORAGE_UNAVAILABLE, "away")

    with pytest.raises(CustomizerError, match="away"):
        bring_first([at(1)], bring, pytest.fail)
