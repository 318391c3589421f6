"""Which files of a repository or folder make a model: pure decisions over relative paths."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

_SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.tiktoken",
    "spiece.model",
    "sentencepiece*.model",
    "chat_template*",
)
_INDEXES = {"model.safetensors.index.json": "model.safetensors", "pytorch_model.bin.index.json": "pytorch_model.bin"}
"""Which file holds which tensor, where they are several; and the one in which they would all be."""
_SAFETENSORS = ("model*.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


def is_config(path: str) -> bool:
    """Tells whether this is the file that names the architecture."""
    return path == "config.json"


def select_settings(paths: Iterable[str], *, code: bool) -> list[str]:
    """Picks configuration and tokenizer, and with `code` the Python files that `trustRemoteCode` lets run."""
    patterns = (*_SETTINGS, "*.py") if code else _SETTINGS
    return _pick(paths, patterns)


def select_outline(paths: Iterable[str], *, code: bool) -> list[str]:
    """Picks all but the weights themselves: configuration, tokenizer, and which file holds which tensor."""
    candidates = list(paths)
    return sorted({*select_settings(candidates, code=code), *_pick(candidates, tuple(_INDEXES))})


def find_index(files: Iterable[str]) -> str | None:
    """Returns the name of the file that says which of a model's files holds which tensor; None if one holds all."""
    names = set(select_weights(files))
    return next((index for index, whole in _INDEXES.items() if index in names and whole not in names), None)


def select_weights(paths: Iterable[str]) -> list[str]:
    """Picks the weights in Hugging Face layout: safetensors, or pickles where there are none."""
    candidates = list(paths)
    return _pick(candidates, _SAFETENSORS) or _pick(candidates, _PICKLES)


def select_model(paths: Iterable[str], *, code: bool) -> list[str]:
    """Picks all that is needed in order to train or serve the model."""
    candidates = list(paths)
    return sorted({*select_settings(candidates, code=code), *select_weights(candidates)})


def _pick(paths: Iterable[str], patterns: tuple[str, ...]) -> list[str]:
    # A model lies at the top of its folder; `original/`, `onnx/` and the like hold it again in other forms.
    return sorted(path for path in paths if "/" not in path and any(fnmatchcase(path, p) for p in patterns))
