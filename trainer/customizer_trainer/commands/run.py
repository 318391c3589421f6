"""`run`: preflight, fetch, train and publish on this machine, one after the other, from a job file.

Run again after a stop, it goes on from the newest checkpoint.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import DatasetInput, Job, ModelInput
from customizer_contract.result import Result
from customizer_contract.sources import FILE_SCHEME, LocalSource, Source
from customizer_trainer.backends.choice import find_backend
from customizer_trainer.checkpoints import CheckpointStore
from customizer_trainer.commands import fetch, preflight, train
from customizer_trainer.local_inputs import local_digest
from customizer_trainer.logs import JsonHandler
from customizer_trainer.outcome import CommandFailedError
from customizer_trainer.publishing import installed_versions
from customizer_trainer.storage.output import open_output
from customizer_trainer.training.terminal import open_view
from customizer_trainer.workspace import Workspace

log = logging.getLogger(__name__)

_OWN_CORES = {"GOMP_SPINCOUNT": "2000"}
"""Threads that wait for one another do so awake for a moment: nobody else has work for these cores, unlike those that
pods share, and a step of SmolLM2 takes 2.2 s instead of 3.0 on two cores."""


class Instead(Protocol):
    """Paths of this machine that take the place of what the job file names."""

    model: Path | None
    teacher: Path | None
    training: Path | None
    validation: Path | None
    output: Path | None
    workspace: Path | None


def run(asked: Job, folder: Path, instead: Instead, environment: Mapping[str, str], *, only_check: bool) -> Result:
    """Does all that the pods of a job do; returns in one result what each of them would report.

    Relative paths of the job file count from `folder`.
    """
    job = on_this_machine(asked, folder, instead)
    workspace = Workspace((instead.workspace or Path(f"{job.name}.workspace")).absolute() / job.uid)
    if not only_check:
        check_installed(job)
    with logged(workspace.log, environment):
        return _run(job, workspace, environment, only_check=only_check)


def _run(job: Job, workspace: Workspace, environment: Mapping[str, str], *, only_check: bool) -> Result:
    checked = preflight.run(job, workspace)
    for warning in checked.warnings:
        log.warning("%s", warning)
    if checked.dataset is not None:
        log.info("preflight has passed: %s", checked.dataset.report_uri)
    if only_check:
        return _join(checked, Result(command="run"))
    fetch.run(job, workspace)
    try:
        trained = train.run(job, workspace, count_attempts(job) + 1, {**_OWN_CORES, **environment}, open_view)
    except CommandFailedError as error:
        raise CommandFailedError(_join(checked, error.result)) from error
    return _join(checked, trained)


@contextmanager
def logged(path: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Writes all that is logged to a file, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        handler = JsonHandler(stream, environment)
        logging.getLogger().addHandler(handler)
        try:
            log.info("what is logged is in %s", path)
            yield
        finally:
            logging.getLogger().removeHandler(handler)


def on_this_machine(job: Job, folder: Path, instead: Instead) -> Job:
    """Returns the job as this machine shall do it, with all processes of its mesh here.

    Relative paths of the job file count from `folder`. A job that is changed, or whose files are, is another job: it
    neither resumes from the first one's checkpoints nor takes its result for its own, nor overwrites it.
    """
    teacher = None if job.teacher is None else _choose_model(job.teacher, instead.teacher, folder)
    changes: dict[str, object] = {
        "model": _choose_model(job.model, instead.model, folder),
        "teacher": teacher,
        "dataset": _choose_data(job.dataset, instead, folder),
        "artifact_uri": job.artifact_uri if instead.output is None else f"{FILE_SCHEME}{instead.output.absolute()}",
    }
    if job.automodel is not None:
        here = {"num_nodes": 1, "num_gpus_per_node": job.outline.world_size}
        mesh = job.automodel.parallelism.model_copy(update=here)
        changes["automodel"] = job.automodel.model_copy(update={"parallelism": mesh})
    changed = job.model_copy(update=changes)
    digest = hashlib.sha256(f"{changed.digest()} {local_digest(changed)}".encode()).hexdigest()
    return changed.model_copy(update={"spec_hash": digest, "uid": f"local-{digest[:16]}"})


def count_attempts(job: Job) -> int:
    """Returns the number of the last attempt that has left a checkpoint."""
    checkpoints = CheckpointStore(open_output(job), job).list_complete()
    return max((checkpoint.attempt for checkpoint in checkpoints), default=0)


def check_installed(job: Job) -> None:
    """Raises Crashed when the backend's libraries are not here."""
    needed = [package for package in find_backend(job).packages if package != "customizer"]
    if missing := sorted(set(needed) - set(installed_versions(needed))):
        extra = "automodel" if job.automodel is not None else "unsloth"
        message = f"Not installed here: {', '.join(missing)}. Install Customizer with the extra [{extra}]."
        raise CustomizerError(Reason.CRASHED, message)


def _choose(source: Source, path: Path | None, folder: Path) -> Source:
    if path is not None:
        return LocalSource(path=path.absolute())
    return LocalSource(path=(folder / source.path).absolute()) if isinstance(source, LocalSource) else source


def _choose_model(model: ModelInput, path: Path | None, folder: Path) -> ModelInput:
    return model.model_copy(update={"source": _choose(model.source, path, folder)})


def _choose_data(dataset: DatasetInput, instead: Instead, folder: Path) -> DatasetInput:
    validation = dataset.validation
    if instead.validation is not None:
        validation = LocalSource(path=instead.validation.absolute())
    elif instead.training is not None:
        # Those of other training data would be no measure of these.
        validation = None
    elif validation is not None:
        validation = _choose(validation, None, folder)
    training = _choose(dataset.training, instead.training, folder)
    return dataset.model_copy(update={"training": training, "validation": validation})


def _join(checked: Result, trained: Result) -> Result:
    warnings = dict.fromkeys([*checked.warnings, *trained.warnings])
    facts = {"command": "run", "dataset": checked.dataset, "model": checked.model, "warnings": list(warnings)[:20]}
    return trained.model_copy(update=facts)
