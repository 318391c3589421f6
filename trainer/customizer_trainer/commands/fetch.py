"""Brings model, data and the newest complete checkpoint to this pod's disk, and tokenizes the data.

Run again after a kill, it downloads only what is not here yet.
"""

import logging
from pathlib import Path

from customizer_contract.base import Model
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job, ModelInput
from customizer_contract.result import DatasetFacts, Result
from customizer_trainer.checkpoints import Checkpoint, CheckpointStore
from customizer_trainer.inputs import fetch_job_data, prepare_job_data
from customizer_trainer.model import check_weight_files
from customizer_trainer.pinning import Inputs, pin_inputs
from customizer_trainer.storage.digest import folder_digest
from customizer_trainer.storage.model_files import select_model
from customizer_trainer.storage.output import open_output
from customizer_trainer.storage.s3 import S3
from customizer_trainer.storage.sources import fetch_model
from customizer_trainer.workspace import Workspace

log = logging.getLogger(__name__)


class Resume(Model):
    """The checkpoint that training goes on from."""

    checkpoint: Checkpoint
    folder: Path


class Fetched(Model):
    """What is on this disk, for `train`."""

    job_uid: str
    model: Path
    teacher: Path | None = None
    samples: Path
    dataset: DatasetFacts
    resume: Resume | None = None
    damaged: list[Checkpoint] = []
    """Checkpoints that were passed over."""


def run(job: Job, workspace: Workspace) -> Result:
    """Fills the workspace and says where everything is in `fetched.json`.

    Raises InputsChanged when what it has got differs from what preflight, other pods or earlier attempts had.
    """
    s3 = S3(job.storage)
    workspace.fetched.unlink(missing_ok=True)
    model = fetch_model(job.model, s3, workspace.model)
    teacher = None if job.teacher is None else fetch_model(job.teacher, s3, workspace.teacher)
    for folder in (model, teacher):
        if folder is not None:
            check_weight_files(folder)
    data = fetch_job_data(job, s3, workspace)
    prepared = prepare_job_data(job, data, model, workspace.samples, teacher=teacher, with_tokens=True)
    output = open_output(job)
    pin_inputs(
        output,
        job,
        Inputs(
            dataset=prepared.facts.digest,
            model=_digest(job.model, model),
            teacher=_digest(job.teacher, teacher) if job.teacher and teacher else None,
        ),
    )
    damaged: list[Checkpoint] = []
    found = CheckpointStore(output, job).download_newest(workspace.resume, damaged.append)
    resume = None
    if found is not None:
        checkpoint, folder = found
        log.info("training goes on from step %d", checkpoint.step)
        resume = Resume(checkpoint=checkpoint, folder=folder)
    fetched = Fetched(
        job_uid=job.uid,
        model=model,
        teacher=teacher,
        samples=workspace.samples,
        dataset=prepared.facts,
        resume=resume,
        damaged=damaged,
    )
    workspace.fetched.write_text(fetched.to_json())
    return Result(command="fetch", dataset=prepared.facts, warnings=prepared.warnings)


def _digest(model: ModelInput, folder: Path) -> str:
    names = [path.name for path in folder.iterdir() if path.is_file()]
    return folder_digest(folder, select_model(names, code=model.trust_remote_code))


def read_fetched(job: Job, workspace: Workspace) -> Fetched:
    """Reads what `fetch` has left for this very job."""
    try:
        fetched = Fetched.model_validate_json(workspace.fetched.read_text())
    except FileNotFoundError as error:
        raise CustomizerError(Reason.CRASHED, f"{workspace.fetched}: missing; run fetch before train.") from error
    if fetched.job_uid != job.uid:
        raise CustomizerError(Reason.CRASHED, f"{workspace.root} holds the inputs of another job; run fetch again.")
    return fetched
