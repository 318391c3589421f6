"""`stage`: brings verified weights to the disk of a server, before it starts."""

from contextlib import nullcontext
from pathlib import Path

from customizer_contract.errors import Reason
from customizer_contract.job import ModelInput
from customizer_contract.paths import MODEL_CACHE, MODEL_STORE, SERVED_ADAPTERS, SERVED_MODEL
from customizer_contract.result import Result
from customizer_contract.serving import Serving
from customizer_contract.sources import VolumeSource
from customizer_trainer.serving import artifacts
from customizer_trainer.serving.artifacts import Artifact, check_contents, read_artifact
from customizer_trainer.serving.base_models import check_base, find_model, pin_model, stage_model
from customizer_trainer.serving.cache import check_strangers, hold, is_complete, name_model, point
from customizer_trainer.storage.s3 import S3
from customizer_trainer.storage.sources import list_model


def run(serving: Serving, store: Path, cache: Path = Path(MODEL_CACHE)) -> Result:
    """Brings all files, several at once, and compares each with the manifest; a second run downloads nothing.

    `store` is the folder that the server sees as `customizer_contract.paths.MODEL_STORE`, `cache` the one that it sees
    as `MODEL_CACHE`.
    """
    s3 = S3(serving.storage)
    artifact = read_artifact(serving.artifact, s3) if serving.artifact else None
    model = find_model(serving, artifact)
    if model is not None and serving.base is not None:
        model = pin_model(model, serving.base, s3)
    if serving.direct:
        return _check_in_place(artifact, s3)
    folder = store / SERVED_MODEL.relative_to(MODEL_STORE)
    shared = _find_shared(serving, cache, artifact, model)
    if shared is not None:
        point(folder, shared)
        folder = shared
    if model is not None:
        with hold(shared) if shared is not None else nullcontext():
            stage_model(model, s3, folder)
        if shared is not None:
            check_strangers(folder, list_model(model, s3))
    if artifact is None:
        return Result(command="stage")
    if artifact.manifest.type == "model":
        _bring_model(artifact, s3, folder, is_shared=shared is not None)
    else:
        if model is not None:
            check_base(artifact.manifest.base_model, folder)
        adapters = store / SERVED_ADAPTERS.relative_to(MODEL_STORE)
        _bring(artifact, s3, adapters / serving.name_as_served(artifact.manifest.name))
    return Result(command="stage", artifact=artifact.reference)


def _check_in_place(artifact: Artifact | None, s3: S3) -> Result:
    """Compares what the server will read by itself; a base model has no manifest, and its listing was compared."""
    if artifact is None:
        return Result(command="stage")
    listing = s3.list_objects(f"{artifact.uri.rstrip('/')}/", missing=Reason.ARTIFACT_NOT_FOUND)
    artifacts.check_strangers(artifact, listing)
    check_contents(artifact, s3)
    return Result(command="stage", artifact=artifact.reference)


def _bring_model(artifact: Artifact, s3: S3, folder: Path, *, is_shared: bool) -> None:
    if not is_shared:
        _bring(artifact, s3, folder)
        return
    # Servers that find everything there verify it side by side.
    if not is_complete(artifact.manifest.served_files, folder):
        with hold(folder):
            _bring(artifact, s3, folder)
    check_strangers(folder, (file.path for file in artifact.manifest.served_files))


def _find_shared(serving: Serving, cache: Path, artifact: Artifact | None, model: ModelInput | None) -> Path | None:
    """Returns the folder of the full weights on the cache volume; what lies on a volume already is not copied."""
    if not serving.cached:
        return None
    if model is not None:
        return None if isinstance(model.source, VolumeSource) else cache / name_model(model, serving.base)
    is_model = artifact is not None and artifact.manifest.type == "model"
    return cache / artifact.digest if artifact is not None and is_model else None


def _bring(artifact: Artifact, s3: S3, folder: Path) -> None:
    s3.download_files(artifact.uri, artifact.manifest.served_files, folder, missing=Reason.ARTIFACT_INVALID)
