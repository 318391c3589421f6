"""What lies at the paths that a job names on this machine: by it `run` tells whether it still is the same job."""

import hashlib
from pathlib import Path

from customizer_contract.job import Job, ModelInput
from customizer_contract.sources import LocalSource, Source, VolumeSource
from customizer_trainer.datasets.files import select_data
from customizer_trainer.storage.digest import combined_digest, describe_state, file_digest
from customizer_trainer.storage.model_files import select_model


def local_digest(job: Job) -> str:
    """Returns a sha256 of the data, the model and the teacher that lie on this machine, as far as they are read.

    Data count by their content, which is read in seconds. Of a model's files size and time of change count, since
    reading some hundred gigabytes would delay each start by minutes: a file that is written anew makes another job,
    even if it is the same. What is not there counts as nothing; preflight says so.
    """
    marks: dict[str, str] = {}
    for name, source in (("training", job.dataset.training), ("validation", job.dataset.validation)):
        marks.update({f"{name}/{path}": digest for path, digest in _digest_data(source).items()})
    for name, model in (("model", job.model), ("teacher", job.teacher)):
        marks.update({f"{name}/{path}": mark for path, mark in _mark_model(model).items()})
    return combined_digest(marks)


def _digest_data(source: Source | None) -> dict[str, str]:
    place = _find(source)
    if place is None:
        return {}
    if place.is_file():
        return {place.name: file_digest(place)}
    paths = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]
    return {path: file_digest(place / path) for path in select_data(paths)}


def _mark_model(model: ModelInput | None) -> dict[str, str]:
    place = None if model is None else _find(model.source)
    if model is None or place is None or not place.is_dir():
        return {}
    names = [path.name for path in place.iterdir() if path.is_file()]
    return {name: _mark(place / name) for name in select_model(names, code=model.trust_remote_code)}


def _mark(path: Path) -> str:
    return hashlib.sha256(describe_state(path).encode()).hexdigest()


def _find(source: Source | None) -> Path | None:
    place = Path(source.path) if isinstance(source, LocalSource | VolumeSource) else None
    return place if place is not None and place.exists() else None
