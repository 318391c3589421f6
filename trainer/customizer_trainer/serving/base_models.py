"""The model that an adapter needs, or that is served as it is: where it is, and whether it is the right one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from customizer_contract.artifact import BaseModelReference
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import ModelInput
from customizer_contract.result import BaseVersion
from customizer_contract.serving import Serving
from customizer_contract.sources import HuggingFaceSource, LocalSource, S3Source, VolumeSource, display
from customizer_trainer.serving.artifacts import Artifact
from customizer_trainer.storage import hub
from customizer_trainer.storage.digest import FILES_AT_ONCE, combined_digest, describe_state, file_digest, model_digest
from customizer_trainer.storage.model_files import select_model, select_weights
from customizer_trainer.storage.s3 import S3
from customizer_trainer.storage.sources import fetch_model, find_folder, parse_address


def find_model(serving: Serving, artifact: Artifact | None) -> ModelInput | None:
    """Returns the model that is staged beside or instead of the artifact.

    None if the artifact is a whole model, or an adapter of the server's own.
    """
    if artifact is not None and (artifact.manifest.type == "model" or serving.base_in_image):
        return None
    if serving.model is not None or artifact is None:
        return serving.model
    return ModelInput(source=parse_address(artifact.manifest.base_model.uri))


def find_version(model: ModelInput, s3: S3) -> BaseVersion:
    """Tells in which state a model is, from the listing of what `stage_model` would bring."""
    source, revision = model.source, None
    match source:
        case S3Source():
            listing = s3.list_objects(f"{source.uri.rstrip('/')}/", missing=Reason.MODEL_NOT_FOUND)
            files = {stored.path: f"{stored.size_bytes} {stored.etag}" for stored in listing}
        case HuggingFaceSource():
            commit = hub.find_commit(source, kind="model", missing=Reason.MODEL_NOT_FOUND)
            files, revision = commit.files, commit.sha
        case VolumeSource() | LocalSource():
            files = {path.name: describe_state(path) for path in find_folder(source).iterdir()}
    chosen = select_model(files, code=model.trust_remote_code)
    return BaseVersion(digest=combined_digest({path: files[path] for path in chosen}), revision=revision)


def pin_model(model: ModelInput, version: BaseVersion, s3: S3) -> ModelInput:
    """Returns the model in the state that was verified; raises ArtifactInvalid if it is in another one by now."""
    if version.revision is not None and isinstance(model.source, HuggingFaceSource):
        source = model.source.model_copy(update={"revision": version.revision})
        model = model.model_copy(update={"source": source})
    if find_version(model, s3).digest != version.digest:
        raise CustomizerError(
            Reason.ARTIFACT_INVALID,
            f"{display(model.source)}: its files were changed after they were verified. Bring them back, or keep "
            "others at another address and name that.",
        )
    return model


def check_large_files(model: ModelInput, folder: Path) -> None:
    """Raises ArtifactInvalid for a large file that differs from what the hub says of it."""
    if not isinstance(model.source, HuggingFaceSource):
        return
    commit = hub.find_commit(model.source, kind="model", missing=Reason.MODEL_NOT_FOUND)

    def check(name: str) -> None:
        if file_digest(folder / name) != commit.files[name]:
            message = f"{display(model.source)}: {name} differs from what the hub has: remove it and bring it again."
            raise CustomizerError(Reason.ARTIFACT_INVALID, message, file=name)

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        list(pool.map(check, sorted(name for name in commit.large if (folder / name).is_file())))


def stage_model(model: ModelInput, s3: S3, folder: Path) -> None:
    """Makes `folder` hold the model: downloaded, or a link to it on a mounted volume.

    Raises ModelInvalid without weights, ArtifactInvalid for what differs from what its repository says.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = fetch_model(model, s3, folder)
    if source != folder and not folder.is_symlink():
        folder.symlink_to(source, target_is_directory=True)
    if not select_weights(path.name for path in folder.iterdir()):
        raise CustomizerError(
            Reason.MODEL_INVALID, f"{display(model.source)}: no weights; neither safetensors nor pytorch_model*.bin."
        )
    check_large_files(model, folder)


def check_base(base: BaseModelReference, folder: Path) -> None:
    """Raises ArtifactInvalid unless the model in `folder` is the one that the adapter was trained on."""
    found = model_digest(folder)
    if found != base.digest:
        raise CustomizerError(
            Reason.ARTIFACT_INVALID,
            f"The base model has digest {found}, but the adapter was trained on {base.uri} with {base.digest}: "
            "its config or weights have changed since.",
        )
