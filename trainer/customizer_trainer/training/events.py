"""What the ranks tell the supervisor: one file of JSON lines a rank, appended while they work."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from customizer_contract.base import Model
from customizer_contract.errors import Reason
from customizer_trainer import logs


class Started(Model):
    """The rank has loaded everything and begins to train."""

    kind: Literal["started"] = "started"
    pid: int
    step: int
    """Optimizer steps that earlier attempts have done."""


class Stepped(Model):
    """An optimizer step is done; told by rank 0."""

    kind: Literal["stepped"] = "stepped"
    step: int
    epoch: float
    loss: float
    gradient_norm: float | None = None
    """Before clipping; None of a step whose scaled gradients have overflowed, which changes no weight."""
    learning_rate: float
    tokens_per_second: float
    tokens: int = 0
    """Of all ranks, padding excluded."""
    data_wait_seconds: float = 0.0
    """How long rank 0 has waited for its samples."""
    memory_bytes: int | None = None
    """The most that rank 0 has held at once: of its GPU's memory, or of the host's on a CPU."""


class Validated(Model):
    """The validation data have been run through; told by rank 0."""

    kind: Literal["validated"] = "validated"
    step: int
    loss: float


class Saving(Model):
    """A checkpoint is being written."""

    kind: Literal["saving"] = "saving"
    step: int


class Saved(Model):
    """This rank's share of a checkpoint is on this node's disk, and so is that of every other rank."""

    kind: Literal["saved"] = "saved"
    step: int
    folder: Path
    train_loss: float
    validation_loss: float | None = None
    validation_answer_loss: float | None = None
    """See `checkpoints.Checkpoint`."""
    seconds: float = 0.0
    """How long training stood still for it."""


class Failed(Model):
    """The rank gives up."""

    kind: Literal["failed"] = "failed"
    rank: int
    """Among the ranks of all nodes."""
    at: float
    """Seconds of the epoch: the first one that failed is the cause."""
    reason: Reason
    message: str


class Ended(Model):
    """The rank has done what it could: all steps, or as many as were done when it was told to stop."""

    kind: Literal["ended"] = "ended"
    step: int


Event = Annotated[Started | Stepped | Validated | Saving | Saved | Failed | Ended, Field(discriminator="kind")]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class EventLog:
    """A rank's own file, for writing."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._path = folder / f"rank-{rank}.jsonl"

    def tell(self, event: Event) -> None:
        """Appends an event in one write, so that a reader never sees half of one before the next.

        Raises OSError where there is no room for it.
        """
        if isinstance(event, Started | Stepped):
            logs.bind(step=event.step)
        line = _EVENT.dump_json(event, by_alias=True, exclude_none=True) + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            if os.write(descriptor, line) < len(line):
                # A disk that is full takes a part, which would spoil the next event.
                os.ftruncate(descriptor, end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        finally:
            os.close(descriptor)


class EventReader:
    """The files of all ranks of this node, for reading what is new."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, int] = {}

    def news(self) -> Iterator[tuple[int, Event]]:
        """Yields (rank, event) for everything told since the last call; a rank's events in order."""
        for path in sorted(self.folder.glob("rank-*.jsonl")):
            rank = int(path.stem.removeprefix("rank-"))
            with path.open("rb") as stream:
                stream.seek(self._read.get(path, 0))
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    yield rank, _EVENT.validate_json(line)
