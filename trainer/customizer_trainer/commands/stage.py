"""`stage`: brings verified weights to the disk of a server, before it starts."""

from pathlib import Path

from customizer_contract.errors import Reason
from customizer_contract.paths import MODEL_STORE, SERVED_ADAPTERS, SERVED_MODEL
from customizer_contract.result import Result
from customizer_contract.serving import Serving
from customizer_trainer.serving.artifacts import read_artifact
from customizer_trainer.serving.base_models import check_base, find_model, stage_model
from customizer_trainer.storage.s3 import S3


def run(serving: Serving, store: Path) -> Result:
    """Brings all files, several at once, and compares each with the manifest; a second run downloads nothing.

    `store` is the folder that the server sees as `customizer_contract.paths.MODEL_STORE`.
    """
    s3 = S3(serving.storage)
    model_folder = store / SERVED_MODEL.relative_to(MODEL_STORE)
    artifact = read_artifact(serving.artifact, s3) if serving.artifact else None
    model = find_model(serving, artifact)
    if model is not None:
        stage_model(model, s3, model_folder)
    if artifact is None:
        return Result(command="stage")
    manifest = artifact.manifest
    target = model_folder
    if manifest.type == "adapter":
        if model is not None:
            check_base(manifest.base_model, model_folder)
        target = store / SERVED_ADAPTERS.relative_to(MODEL_STORE) / serving.name_as_served(manifest.name)
    s3.download_files(artifact.uri, manifest.files, target, missing=Reason.ARTIFACT_INVALID)
    return Result(command="stage", artifact=artifact.reference)
