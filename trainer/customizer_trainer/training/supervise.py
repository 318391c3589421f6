"""The loop of a node: listens to the ranks, hands on checkpoints, shows progress, passes the signal to stop on."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Protocol

from customizer_contract.errors import CustomizerError
from customizer_trainer import logs
from customizer_trainer.checkpoints import Checkpoint
from customizer_trainer.training.disk import is_full
from customizer_trainer.training.events import Ended, Event, EventReader, Failed, Saved, Started
from customizer_trainer.training.launch import Place, Ranks
from customizer_trainer.training.memory import count_kills
from customizer_trainer.training.state import Training
from customizer_trainer.training.uploads import Uploader
from customizer_trainer.training.verdict import End, judge

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_LAST_WORDS_SECONDS = 5.0
"""How long the rest has when one rank of this node has failed, or when all have ended."""


class Viewer(Protocol):
    """Shows how a training stands."""

    def show(self, training: Training) -> None:
        """Shows this state from now on."""

    def close(self) -> None:
        """Stops showing."""


class Display:
    """The state of the training, shown on node 0 whenever it changes; the upload thread changes it, too."""

    def __init__(self, training: Training, viewer: Viewer | None) -> None:
        self._lock = threading.Lock()
        self._viewer = viewer
        self._show(training)

    @property
    def training(self) -> Training:
        """The state as it is now."""
        return self._training

    def apply(self, event: Event) -> None:
        """Takes up what a rank told."""
        with self._lock:
            self._show(self._training.apply(event, datetime.now(UTC)))

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        """Takes up that a checkpoint is complete."""
        with self._lock:
            self._show(self._training.checkpointed(checkpoint.step, datetime.now(UTC)))

    def publishing(self) -> None:
        """Takes up that the training is over."""
        with self._lock:
            self._show(self._training.publishing(datetime.now(UTC)))

    def close(self) -> None:
        """Stops showing."""
        if self._viewer is not None:
            self._viewer.close()

    def _show(self, training: Training) -> None:
        self._training = training
        logs.bind(step=training.progress.step)
        if self._viewer is not None:
            self._viewer.show(training)


@dataclass(slots=True)
class _Heard:
    """What the ranks of this node have told."""

    pids: dict[int, int] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    saved: set[int] = field(default_factory=set)


class Supervisor:
    """Watches the ranks of this node during one attempt."""

    def __init__(self, place: Place, attempt: int, reader: EventReader, uploader: Uploader, shown: Display) -> None:
        self._place = place
        self._attempt = attempt
        self._reader = reader
        self._uploader = uploader
        self._shown = shown
        self._heard = _Heard()

    def watch(self, ranks: Ranks, stop: threading.Event) -> CustomizerError | None:
        """Watches until all ranks of this node have ended; returns why the training is not done, None if it is.

        Asks the ranks to save and to end when `stop` is set, or when checkpoints cannot be uploaded.
        """
        heard, kills = self._heard, count_kills()
        asked = False
        last_words = _LAST_WORDS_SECONDS
        while (code := ranks.exit_code()) is None:
            ranks.wait(_POLL_SECONDS)
            self._listen()
            if heard.failed or len(heard.ended) == self._place.processes:
                last_words -= _POLL_SECONDS
                if last_words <= 0:
                    # Ranks wait for the one that failed, and torchrun waits minutes for nodes that are gone.
                    ranks.kill()
            if not asked and (stop.is_set() or self._uploader.error is not None):
                log.info("asking the ranks to save and to end")
                ranks.stop(list(heard.pids.values()))
                asked = True
        self._listen()
        if self._uploader.error is not None:
            return self._uploader.error
        return judge(
            End(
                exit_code=code,
                processes=self._place.processes,
                told_to_stop=stop.is_set(),
                nodes=self._place.nodes,
                total_steps=self._shown.training.progress.total_steps,
                started=bool(heard.pids),
                ended=heard.ended,
                failed=heard.failed,
                killed_for_memory=count_kills() > kills,
                disk_is_full=is_full(self._reader.folder),
            )
        )

    def _listen(self) -> None:
        heard = self._heard
        for rank, event in self._reader.news():
            match event:
                case Started():
                    heard.pids[rank] = event.pid
                case Ended():
                    heard.ended.append(event)
                case Failed():
                    heard.failed.append(event)
                case Saved() if event.step not in heard.saved:
                    # The first rank of this node to say so: by then all ranks have written.
                    heard.saved.add(event.step)
                    self._uploader.add(self._describe(event), event.folder)
            if rank == 0 or isinstance(event, Started | Saved):
                self._shown.apply(event)

    def _describe(self, event: Saved) -> Checkpoint:
        return Checkpoint(
            step=event.step,
            attempt=self._attempt,
            nodes=self._place.nodes,
            train_loss=event.train_loss,
            validation_loss=event.validation_loss,
            validation_answer_loss=event.validation_answer_loss,
        )


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """Sets an event when this process is told to stop, which would else end it."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
