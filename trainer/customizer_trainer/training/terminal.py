"""A training for the eyes: a bar on a terminal, else a line now and then."""

import logging
import sys
import time

from tqdm import tqdm

from customizer_trainer.logs import JsonHandler
from customizer_trainer.training.state import Training

log = logging.getLogger(__name__)

_EVERY_SECONDS = 10.0
"""Between lines, where there is no terminal."""


class ConsoleHandler(JsonHandler):
    """Logs for people, above the bar if there is one: what is ours, and the errors of all else."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leaves out what libraries tell and warn of."""
        is_ours = record.name.startswith("customizer_trainer")
        return (is_ours or record.levelno >= logging.ERROR) and bool(super().filter(record))

    def format(self, record: logging.LogRecord) -> str:
        """Renders a record as a line."""
        entry = self.to_entry(record)
        return f"{entry.time.astimezone():%H:%M:%S} {entry.for_people}"

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line."""
        tqdm.write(self.format(record), file=self.stream)


class Bar:
    """A progress bar on standard error."""

    def __init__(self, training: Training) -> None:
        progress = training.progress
        self._bar = tqdm(total=progress.total_steps, initial=progress.step, unit="step", dynamic_ncols=True)

    def show(self, training: Training) -> None:
        """Shows step, losses and what goes on."""
        progress = training.progress
        self._bar.set_description(progress.phase, refresh=False)
        self._bar.set_postfix_str(" · ".join(_tell_losses(training)), refresh=False)
        self._bar.update(progress.step - self._bar.n)
        self._bar.refresh()

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()


class Lines:
    """Lines of the log, few enough to be read."""

    def __init__(self, training: Training) -> None:
        self._told_at = 0.0
        self._phase = training.progress.phase

    def show(self, training: Training) -> None:
        """Logs a line when it is time, or when something else goes on."""
        progress, now = training.progress, time.monotonic()
        if progress.phase == self._phase and now - self._told_at < _EVERY_SECONDS:
            return
        self._told_at, self._phase = now, progress.phase
        step = f"{progress.phase}: step {progress.step}/{progress.total_steps}"
        log.info("%s", " · ".join([step, *_tell_losses(training)]))

    def close(self) -> None:
        """Does nothing."""


def open_view(training: Training) -> Bar | Lines:
    """Returns what suits standard error."""
    return Bar(training) if sys.stderr.isatty() else Lines(training)


def _tell_losses(training: Training) -> list[str]:
    progress = training.progress
    losses = {"loss": progress.train_loss, "validation": progress.validation_loss}
    told = [f"{name} {loss:.3f}" for name, loss in losses.items() if loss is not None]
    return [*told, *([] if progress.tokens_per_second is None else [f"{progress.tokens_per_second:.0f} tokens/s"])]
