"""A run of Weights & Biases, by its library: one for all attempts of a job."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from customizer_contract.integrations import Wandb
from customizer_trainer.tracking.record import Record, Values
from customizer_trainer.tracking.tracker import Ending, TrackerUnavailableError

_PATIENCE_SECONDS = 30
_TAG_LIMIT = 64


class WandbTracker:
    """A run at a server, or in a folder when WANDB_MODE is `offline`."""

    def __init__(self, asked: Wandb, record: Record, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # A pod's home is small, and the library writes to several places below it.
        for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            os.environ[name] = str(folder)
        self._asked = asked
        self._record = record
        self._wandb = import_module("wandb")
        self._run: Any = None

    def send(self, values: Sequence[Values]) -> None:
        """Tells numbers; the library drops those of steps before its newest, which an earlier attempt has told."""
        with self._unavailable():
            run = self._open()
            for each in values:
                run.log(each.numbers, step=each.step)

    def close(self, ending: Ending) -> None:
        """Tells how the attempt ended, and waits until all is sent."""
        with self._unavailable():
            self._open().finish(exit_code=0 if ending == "FINISHED" else 1)

    def _open(self) -> Any:
        if self._run is None:
            asked, record = self._asked, self._record
            self._run = self._wandb.init(
                project=asked.project or record.project,
                entity=asked.entity,
                name=asked.name or record.name,
                notes=asked.notes,
                tags=[*(f"{name}:{value}"[:_TAG_LIMIT] for name, value in record.tags.items()), *(asked.tags or ())],
                config=record.settings,
                id=record.identity,
                resume="allow",
                settings=self._wandb.Settings(
                    base_url=asked.base_url,
                    init_timeout=_PATIENCE_SECONDS,
                    console="off",
                    silent=True,
                    disable_git=True,
                    save_code=False,
                    x_disable_stats=True,
                    x_disable_meta=True,
                ),
            )
        return self._run

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        try:
            yield
        except (self._wandb.errors.Error, OSError) as error:
            raise TrackerUnavailableError(str(error)) from error
