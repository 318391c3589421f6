"""Any source to a local path: S3, the Hugging Face hub, a mounted volume."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import ModelInput
from customizer_contract.sources import HuggingFaceSource, LocalSource, S3Source, Source, VolumeSource, display
from customizer_trainer.storage import hub
from customizer_trainer.storage.model_files import select_model, select_outline, select_weights
from customizer_trainer.storage.s3 import S3

Select = Callable[[Iterable[str]], Iterable[str]]

_HUB_ADDRESS = re.compile(r"^hf://(?P<repo>[^@]+)@(?P<revision>.+)$")


def fetch_model(model: ModelInput, s3: S3, folder: Path) -> Path:
    """Brings configuration, tokenizer and weights; returns the model's folder, which is not `folder` for a volume."""
    return _fetch_model(model.source, s3, folder, partial(select_model, code=model.trust_remote_code))


def fetch_model_settings(model: ModelInput, s3: S3, folder: Path) -> Path:
    """Brings all but the weights: configuration, tokenizer, their index; returns the folder that holds them."""
    return _fetch_model(model.source, s3, folder, partial(select_outline, code=model.trust_remote_code))


def fetch_data(source: Source, s3: S3, folder: Path, select: Select) -> Path:
    """Brings the selected data files; returns the file, or the folder that holds them."""
    match source:
        case S3Source():
            paths = s3.download(source.uri, folder, missing=Reason.DATASET_NOT_FOUND, select=select)
            is_object = len(paths) == 1 and source.uri.endswith(f"/{paths[0].name}")
            return paths[0] if is_object else folder
        case HuggingFaceSource():
            hub.download(source, folder, kind="dataset", missing=Reason.DATASET_NOT_FOUND, select=select)
            return folder
        case VolumeSource() | LocalSource():
            return _find(source, Reason.DATASET_NOT_FOUND)


def list_model(model: ModelInput, s3: S3) -> dict[str, int]:
    """Returns the files that `fetch_model` would bring, with their bytes; downloads nothing. A volume's have none.

    Raises ModelInvalid when there are no weights beside the configuration.
    """
    source = model.source
    match source:
        case S3Source():
            found = s3.list_objects(source.uri.rstrip("/") + "/", missing=Reason.MODEL_NOT_FOUND)
            sizes = {stored.path: stored.size_bytes for stored in found}
        case HuggingFaceSource():
            sizes = hub.list_files(source, kind="model", missing=Reason.MODEL_NOT_FOUND)
        case VolumeSource() | LocalSource():
            sizes = dict.fromkeys((path.name for path in _find(source, Reason.MODEL_NOT_FOUND).iterdir()), 0)
    if not select_weights(sizes):
        raise CustomizerError(
            Reason.MODEL_INVALID, f"{display(source)}: no weights (model*.safetensors) beside config.json."
        )
    return {path: sizes[path] for path in select_model(sizes, code=model.trust_remote_code)}


def parse_address(text: str) -> Source:
    """Reads what `customizer_contract.sources.display` writes, e.g. a manifest's base model.

    A volume cannot be reached by its address alone: ModelNotFound.
    """
    if text.startswith("s3://"):
        return S3Source(uri=text)
    match = _HUB_ADDRESS.match(text)
    if match is None:
        raise CustomizerError(
            Reason.MODEL_NOT_FOUND, f"{text}: only s3:// and hf:// addresses can be fetched; name the model's source."
        )
    return HuggingFaceSource(repo=match["repo"], revision=match["revision"])


def _fetch_model(source: Source, s3: S3, folder: Path, select: Select) -> Path:
    match source:
        case S3Source():
            s3.download(source.uri.rstrip("/") + "/", folder, missing=Reason.MODEL_NOT_FOUND, select=select)
        case HuggingFaceSource():
            hub.download(source, folder, kind="model", missing=Reason.MODEL_NOT_FOUND, select=select)
        case VolumeSource() | LocalSource():
            folder = _find(source, Reason.MODEL_NOT_FOUND)
    if not (folder / "config.json").is_file():
        raise CustomizerError(
            Reason.MODEL_INVALID,
            f"{display(source)}: no config.json; a model in Hugging Face layout has one at the top of its folder.",
            file="config.json",
        )
    return folder


def find_folder(source: VolumeSource | LocalSource) -> Path:
    """Returns where a model lies on a volume. Raises ModelNotFound."""
    return _find(source, Reason.MODEL_NOT_FOUND)


def _find(source: VolumeSource | LocalSource, missing: Reason) -> Path:
    path = Path(source.path)
    if not path.exists():
        raise CustomizerError(missing, f"{display(source)}: no such file or folder there.")
    return path
