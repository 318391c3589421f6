"""Checkpoints in S3: every node uploads its own part, and a marker written last makes the whole visible.

`<work>/checkpoints/step-<8 digits>-a<attempt>/node-<i>/...`, then `node-<i>.json` (a manifest of the part) by each
node, then `COMPLETE.json` by node 0. Without the marker a checkpoint does not exist.
"""

import logging
import math
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import ValidationError

from customizer_contract.artifact import File
from customizer_contract.base import Model
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_trainer.storage.store import Store, join

log = logging.getLogger(__name__)

MARKER = "COMPLETE.json"


class Checkpoint(Model):
    """A checkpoint, as its marker describes it."""

    step: int
    """Optimizer steps done."""
    attempt: int
    nodes: int
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_answer_loss: float | None = None
    """The part of it that the answers of the data make, where another part is a teacher's; None if there is none."""

    @property
    def name(self) -> str:
        """Name of its folder. For people: as text, attempt 10 sorts before attempt 9."""
        return f"step-{self.step:08d}-a{self.attempt}"

    @property
    def age(self) -> tuple[int, int]:
        """What checkpoints sort by, the oldest first: steps, then attempts."""
        return self.step, self.attempt


class Part(Model):
    """What one node has uploaded."""

    files: list[File]


def sort_by_age(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Sorts checkpoints, the newest first."""
    return sorted(checkpoints, key=lambda checkpoint: checkpoint.age, reverse=True)


def sort_by_loss(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Sorts by validation loss, the lowest first; of equals, and where none was validated, the newest first."""

    def loss(checkpoint: Checkpoint) -> float:
        return math.inf if checkpoint.validation_loss is None else checkpoint.validation_loss

    return sorted(sort_by_age(checkpoints), key=loss)


def newest(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """Picks the checkpoint to resume from."""
    return next(iter(sort_by_age(checkpoints)), None)


def best(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """Picks the one with the lowest validation loss, of equals the newest; the newest if none was validated."""
    return next(iter(sort_by_loss(checkpoints)), None)


def superseded(checkpoints: Iterable[Checkpoint], keep: int) -> list[Checkpoint]:
    """Picks those that nobody will need, the oldest first: not the `keep` newest, nor the best."""
    ordered = sort_by_age(checkpoints)
    kept = {checkpoint.name for checkpoint in (*ordered[:keep], best(ordered)) if checkpoint is not None}
    return [checkpoint for checkpoint in reversed(ordered) if checkpoint.name not in kept]


def bring_first(
    candidates: Iterable[Checkpoint],
    bring: Callable[[Checkpoint], Path],
    on_damage: Callable[[Checkpoint], None],
) -> tuple[Checkpoint, Path] | None:
    """Brings the first checkpoint that turns out whole, and tells of those before it; None if none is."""
    for checkpoint in candidates:
        try:
            return checkpoint, bring(checkpoint)
        except CustomizerError as error:
            if error.reason is not Reason.ARTIFACT_INVALID:
                raise
            log.warning("checkpoint %s is damaged, taking another one: %s", checkpoint.name, error)
            on_damage(checkpoint)
    return None


class CheckpointStore:
    """The checkpoints of one job."""

    def __init__(self, store: Store, job: Job) -> None:
        self._store = store
        self._root = join(job.work_uri, "checkpoints")

    def list_complete(self) -> list[Checkpoint]:
        """Lists all complete checkpoints of all attempts."""
        stored = self._store.list_objects(f"{self._root}/", missing=Reason.OUTPUT_NOT_FOUND)
        markers = [each.uri for each in stored if each.path.endswith(f"/{MARKER}")]
        found = (self._read_marker(uri) for uri in markers)
        return [checkpoint for checkpoint in found if checkpoint is not None]

    def upload_part(self, checkpoint: Checkpoint, node: int, folder: Path) -> None:
        """Uploads what this node has written of a checkpoint."""
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        uploaded = self._store.upload(files, self._part(checkpoint, node))
        self._store.put(f"{self._part(checkpoint, node)}.json", Part(files=uploaded).to_json().encode())

    def complete(self, checkpoint: Checkpoint, wait: Callable[[], bool]) -> bool:
        """Writes the marker once all parts are there; tells whether it came to that before `wait` said to stop."""
        parts = [f"{self._part(checkpoint, node)}.json" for node in range(checkpoint.nodes)]
        told: list[str] = []
        while missing := [part for part in parts if not self._store.exists(part)]:
            if missing != told:
                log.info("waiting for %s", ", ".join(missing))
                told = missing
            if not wait():
                return False
        self._store.put(join(self._root, f"{checkpoint.name}/{MARKER}"), checkpoint.to_json().encode())
        return True

    def download(self, checkpoint: Checkpoint, folder: Path, select: str = "*") -> Path:
        """Brings the selected files of all parts, verified, into one folder below `folder`, and returns it.

        Raises ArtifactInvalid when a part is missing or damaged.
        """
        target = folder / checkpoint.name
        for node in range(checkpoint.nodes):
            files = [file for file in self._read_part(checkpoint, node).files if fnmatchcase(file.path, select)]
            self._store.download_files(self._part(checkpoint, node), files, target, missing=Reason.ARTIFACT_INVALID)
        return target

    def download_newest(
        self, folder: Path, on_damage: Callable[[Checkpoint], None] = lambda checkpoint: None
    ) -> tuple[Checkpoint, Path] | None:
        """Brings the newest complete checkpoint; passes over those that turn out damaged, and tells which."""
        candidates = sort_by_age(self.list_complete())
        return bring_first(candidates, lambda checkpoint: self.download(checkpoint, folder), on_damage)

    def forget(self, checkpoint: Checkpoint) -> None:
        """Deletes the marker, without which a checkpoint is none any more; its files stay for who wants them."""
        self._store.delete_object(join(self._root, f"{checkpoint.name}/{MARKER}"))

    def delete(self, checkpoint: Checkpoint) -> None:
        """Deletes a checkpoint, marker first, so that it is never seen in part."""
        self.forget(checkpoint)
        self._store.delete(join(self._root, checkpoint.name))

    def _read_marker(self, uri: str) -> Checkpoint | None:
        content = self._store.read(uri)
        try:
            return None if content is None else Checkpoint.model_validate_json(content)
        except ValidationError:
            log.warning("%s is damaged, so that its checkpoint is passed over", uri)
            return None

    def _read_part(self, checkpoint: Checkpoint, node: int) -> Part:
        uri = f"{self._part(checkpoint, node)}.json"
        content = self._store.read(uri)
        if content is None:
            raise CustomizerError(Reason.ARTIFACT_INVALID, f"{uri}: no such part.")
        try:
            return Part.model_validate_json(content)
        except ValidationError as error:
            raise CustomizerError(Reason.ARTIFACT_INVALID, f"{uri}: cannot be read.") from error

    def _part(self, checkpoint: Checkpoint, node: int) -> str:
        return join(self._root, f"{checkpoint.name}/node-{node}")
