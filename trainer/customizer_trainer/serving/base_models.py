"""The model that an adapter needs, or that is served as it is: where it is, and whether it is the right one."""

from pathlib import Path

from customizer_contract.artifact import BaseModelReference
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import ModelInput
from customizer_contract.serving import Serving
from customizer_contract.sources import display
from customizer_trainer.serving.artifacts import Artifact
from customizer_trainer.storage.digest import model_digest
from customizer_trainer.storage.model_files import select_weights
from customizer_trainer.storage.s3 import S3
from customizer_trainer.storage.sources import fetch_model, parse_address


def find_model(serving: Serving, artifact: Artifact | None) -> ModelInput | None:
    """Returns the model that is staged beside or instead of the artifact.

    None if the artifact is a whole model, or an adapter of the server's own.
    """
    if artifact is not None and (artifact.manifest.type == "model" or serving.base_in_image):
        return None
    if serving.model is not None or artifact is None:
        return serving.model
    return ModelInput(source=parse_address(artifact.manifest.base_model.uri))


def stage_model(model: ModelInput, s3: S3, folder: Path) -> None:
    """Makes `folder` hold the model: downloaded, or a link to it on a mounted volume. Raises ModelInvalid."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = fetch_model(model, s3, folder)
    if source != folder and not folder.is_symlink():
        folder.symlink_to(source, target_is_directory=True)
    if not select_weights(path.name for path in folder.iterdir()):
        raise CustomizerError(
            Reason.MODEL_INVALID, f"{display(model.source)}: no weights; neither safetensors nor pytorch_model*.bin."
        )


def check_base(base: BaseModelReference, folder: Path) -> None:
    """Raises ArtifactInvalid unless the model in `folder` is the one that the adapter was trained on."""
    found = model_digest(folder)
    if found != base.digest:
        raise CustomizerError(
            Reason.ARTIFACT_INVALID,
            f"The base model has digest {found}, but the adapter was trained on {base.uri} with {base.digest}: "
            "its config or weights have changed since.",
        )
