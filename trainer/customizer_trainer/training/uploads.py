"""Checkpoints to S3 while training goes on."""

import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.checkpoints import Checkpoint, CheckpointStore, best, newest, superseded
from customizer_trainer.storage.patience import patiently
from customizer_trainer.training.failures import classify

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_LEAST_WAIT_SECONDS = 15.0
"""How long a node that may be gone has at least for uploading its part."""


class Uploader:
    """A thread that uploads this node's parts in order and, on node 0, makes checkpoints complete."""

    def __init__(self, store: CheckpointStore, node: int, on_complete: Callable[[Checkpoint], None], keep: int) -> None:
        self._store = store
        self._keep = keep
        self._node = node
        self._on_complete = on_complete
        self._queue: queue.Queue[tuple[Checkpoint, Path] | None] = queue.Queue()
        self._give_up = threading.Event()
        self._hurry = threading.Event()
        self._local: dict[str, tuple[Checkpoint, Path]] = {}
        self.error: CustomizerError | None = None
        self._thread = threading.Thread(target=self._work, name="checkpoint-upload", daemon=True)
        self._thread.start()

    def add(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Queues a checkpoint that is on this disk."""
        self._queue.put((checkpoint, folder))

    def finish(self, patience_seconds: float, *, peers_may_be_gone: bool) -> bool:
        """Waits until all is uploaded and complete; tells whether it came to that in time, and without an error.

        Where peers may be gone, their parts are waited for only about as long as it took to upload the one from here.
        """
        if peers_may_be_gone:
            self._hurry.set()
        self._queue.put(None)
        self._thread.join(patience_seconds)
        self._give_up.set()
        return not self._thread.is_alive() and self.error is None

    def local_folder(self, checkpoint: Checkpoint) -> Path | None:
        """Returns where this node's part of a checkpoint still is on this disk."""
        entry = self._local.get(checkpoint.name)
        return entry[1] if entry else None

    def _work(self) -> None:
        while (item := self._queue.get()) is not None and self.error is None:
            try:
                checkpoint, folder = item
                patiently(
                    partial(self._upload, checkpoint, folder),
                    f"upload checkpoint {checkpoint.name}",
                    self._give_up.wait,
                )
            except CustomizerError as error:
                log.warning("checkpoint %s was not uploaded: %s", item[0].name, error)
                self.error = error
            except Exception as error:
                # A disk that fails, say. Ended by it unnoticed, the thread would pass for one that has done all.
                log.exception("checkpoint %s was not uploaded", item[0].name)
                self.error = CustomizerError(*classify(error))

    def _upload(self, checkpoint: Checkpoint, folder: Path) -> None:
        began = time.monotonic()
        self._store.upload_part(checkpoint, self._node, folder)
        uploaded = time.monotonic()
        enough = max(_LEAST_WAIT_SECONDS, 2 * (uploaded - began))

        def wait() -> bool:
            tired = self._hurry.is_set() and time.monotonic() - uploaded > enough
            return not tired and not self._give_up.wait(_POLL_SECONDS)

        if self._node == 0:
            if not self._store.complete(checkpoint, wait):
                raise CustomizerError(Reason.PEER_LOST, f"Not all parts of checkpoint {checkpoint.name} were uploaded.")
            log.info("checkpoint %s is complete", checkpoint.name)
            self._on_complete(checkpoint)
            for old in superseded(self._store.list_complete(), self._keep):
                self._store.delete(old)
        self._local[checkpoint.name] = (checkpoint, folder)
        self._tidy()

    def _tidy(self) -> None:
        """Removes what is in S3 and will not be published from here."""
        here = [checkpoint for checkpoint, _ in self._local.values()]
        kept = {checkpoint.name for checkpoint in (newest(here), best(here)) if checkpoint is not None}
        for name in [name for name in self._local if name not in kept]:
            shutil.rmtree(self._local.pop(name)[1], ignore_errors=True)
