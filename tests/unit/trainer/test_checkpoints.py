from pathlib import Path

import pytest

from customizer_contract.sources import FILE_SCHEME
from customizer_trainer.backends.choice import find_backend
from customizer_trainer.checkpoints import Checkpoint, CheckpointStore, best, newest, superseded
from customizer_trainer.storage.folder import Folder
from tests.unit.trainer.conftest import build_job


def at(step: int, loss: float | None = None, attempt: int = 1) -> Checkpoint:
    return Checkpoint(step=step, attempt=attempt, nodes=1, validation_loss=loss)


def test_names_sort_by_step_then_by_attempt() -> None:
    names = [at(9).name, at(10, attempt=2).name, at(10, attempt=3).name, at(100).name]
    assert names == sorted(names)
    assert names[0] == "step-00000009-a1"


def test_the_newest_has_the_most_steps() -> None:
    assert newest([at(9), at(100), at(10)]) == at(100)
    assert newest([at(10), at(10, attempt=2)]) == at(10, attempt=2)
    assert newest([]) is None


BEST = {
    "the lowest validation loss": ([at(1, 3.0), at(2, 1.0), at(3, 2.0)], at(2, 1.0)),
    "of equals the newest": ([at(1, 1.0), at(2, 1.0)], at(2, 1.0)),
    "one that was not validated never beats one that was": ([at(1, 9.0), at(2)], at(1, 9.0)),
    "none was validated: the newest": ([at(1), at(2)], at(2)),
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
