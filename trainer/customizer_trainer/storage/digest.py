"""sha256 of files, and of a model as a whole."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.storage.model_files import is_config, select_weights

FILES_AT_ONCE = 4
"""Files of a model that are read, or moved, side by side."""


def file_digest(path: Path) -> str:
    """Returns the sha256 of a file as 64 hexadecimal digits, reading it once, in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def describe_state(path: Path) -> str:
    """Tells size and time of change of a file: they stand for its content where that is too much to be read."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def combined_digest(digests: Mapping[str, str]) -> str:
    """Returns one sha256 for files, given the sha256 of each by relative path: that of `<sha256>  <path>` lines."""
    lines = "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def folder_digest(folder: Path, paths: Iterable[str]) -> str:
    """Returns one sha256 for files of a folder, of which several are read at once."""
    chosen = sorted(paths)
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="digest") as pool:
        return combined_digest(
            dict(zip(chosen, pool.map(file_digest, [folder / path for path in chosen]), strict=True))
        )


def model_digest(folder: Path) -> str:
    """Returns the sha256 that names a model: over its config and weights, so that its tokenizer may be amended.

    Raises ModelInvalid where there is neither.
    """
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    chosen = [path for path in paths if is_config(path)] + select_weights(paths)
    if not chosen:
        raise CustomizerError(Reason.MODEL_INVALID, f"{folder}: neither a config nor weights are there.")
    return folder_digest(folder, chosen)
