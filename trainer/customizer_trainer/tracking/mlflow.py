"""A run of MLflow, by its client: one for all attempts of a job."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from customizer_contract.integrations import Mlflow
from customizer_trainer.tracking.record import Record, Values
from customizer_trainer.tracking.tracker import Ending, TrackerUnavailableError

_IDENTITY = "customizer.uid"
_MOST_NUMBERS, _MOST_SETTINGS = 1000, 100
"""What a request may hold."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class MlflowTracker:
    """A run at a tracking server."""

    def __init__(self, asked: Mlflow, record: Record, clock: Callable[[], float] = time.time) -> None:
        os.environ.update(_PATIENCE)
        self._asked = asked
        self._record = record
        self._clock = clock
        self._mlflow = import_module("mlflow")
        self._client = self._mlflow.MlflowClient(tracking_uri=asked.tracking_uri)
        self._run: str | None = None
        self._told: dict[str, int] = {}
        """The newest step of each number that an earlier attempt told."""

    def send(self, values: Sequence[Values]) -> None:
        """Tells numbers; what an earlier attempt told of a step stands."""
        with self._unavailable():
            run = self._open()
            metric, now = self._mlflow.entities.Metric, int(self._clock() * 1000)
            numbers = [
                metric(name, number, now, each.step)
                for each in values
                for name, number in each.numbers.items()
                if each.step > self._told.get(name, 0)
            ]
            for start in range(0, len(numbers), _MOST_NUMBERS):
                self._client.log_batch(run, metrics=numbers[start : start + _MOST_NUMBERS])

    def close(self, ending: Ending) -> None:
        """Tells how the attempt ended."""
        with self._unavailable():
            self._client.set_terminated(self._open(), ending)

    def _open(self) -> str:
        if self._run is None:
            experiment = self._find_experiment(self._asked.experiment_name or self._record.project)
            self._run = self._find_run(experiment) or self._create_run(experiment)
        return self._run

    def _find_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def _find_run(self, experiment: str) -> str | None:
        """Finds the run that an earlier attempt began."""
        found = self._client.search_runs([experiment], f"tags.`{_IDENTITY}` = '{self._record.identity}'", max_results=1)
        if not found:
            return None
        run: str = found[0].info.run_id
        for name in found[0].data.metrics:
            self._told[name] = max(point.step for point in self._client.get_metric_history(run, name))
        self._client.update_run(run, status="RUNNING")
        return run

    def _create_run(self, experiment: str) -> str:
        asked, record = self._asked, self._record
        described = {} if asked.description is None else {"mlflow.note.content": asked.description}
        tags = {**record.tags, **(asked.tags or {}), **described, _IDENTITY: record.identity}
        created = self._client.create_run(experiment, run_name=asked.name or record.name, tags=tags)
        run: str = created.info.run_id
        settings: list[Any] = [self._mlflow.entities.Param(*each) for each in record.settings.items()]
        for start in range(0, len(settings), _MOST_SETTINGS):
            self._client.log_batch(run, params=settings[start : start + _MOST_SETTINGS])
        return run

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        try:
            yield
        except (self._mlflow.exceptions.MlflowException, OSError) as error:
            raise TrackerUnavailableError(str(error)) from error
