"""`verify`: checks what a ModelDeployment names before any server starts, and reports what it is."""

import tempfile
from pathlib import Path

from customizer_contract.errors import Reason
from customizer_contract.result import Result
from customizer_contract.serving import Serving
from customizer_trainer.serving.artifacts import check_listing, check_strangers, read_artifact
from customizer_trainer.serving.base_models import find_model, find_version
from customizer_trainer.storage.s3 import S3
from customizer_trainer.storage.sources import fetch_model_settings


def run(serving: Serving) -> Result:
    """Reads the manifest, compares it with what is stored, and checks that the base model can be reached.

    It reads no weights: `stage` verifies their content on the server's own disk.
    """
    s3 = S3(serving.storage)
    artifact = read_artifact(serving.artifact, s3) if serving.artifact else None
    if artifact is not None:
        listing = s3.list_objects(f"{artifact.uri.rstrip('/')}/", missing=Reason.ARTIFACT_NOT_FOUND)
        check_listing(artifact, listing)
        if serving.direct:
            check_strangers(artifact, listing)
    model, base = find_model(serving, artifact), None
    if model is not None:
        base = find_version(model, s3)
        with tempfile.TemporaryDirectory() as scratch:
            fetch_model_settings(model, s3, Path(scratch))
    return Result(command="verify", artifact=artifact.reference if artifact else None, base=base)
