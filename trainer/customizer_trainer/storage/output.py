"""Where a job's checkpoints, reports and artifact go."""

from customizer_contract.job import Job
from customizer_contract.sources import FILE_SCHEME
from customizer_trainer.storage.folder import Folder
from customizer_trainer.storage.s3 import S3
from customizer_trainer.storage.store import Store


def open_output(job: Job) -> Store:
    """Returns the store that the artifact's address is of."""
    return Folder() if job.artifact_uri.startswith(FILE_SCHEME) else S3(job.storage)
