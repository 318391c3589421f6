"""Which files of a source are training data and which are validation data: pure decisions over relative paths."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from customizer_trainer.datasets.compression import COMPRESSIONS

_DOCUMENTS = tuple(f".json{suffix}" for suffix in ("", *COMPRESSIONS))
_RECORDS = (*(f".jsonl{suffix}" for suffix in ("", *COMPRESSIONS)), ".parquet")
_TRAINING = ("train", "training")
_VALIDATION = ("val", "validation", "dev")
_TEST = re.compile(r"test[._-]")
_NAMELESS_FOLDERS = ("data",)
"""Folders in which the names of the files decide, as on the Hugging Face hub."""

EXPECTED = ".jsonl, .json or .parquet; the first two also with .gz, .zst, .bz2 or .xz"


@dataclass(frozen=True, slots=True)
class DataFiles:
    """Relative paths, in the order in which they are read."""

    training: list[str]
    validation: list[str]
    ignored: list[str] = field(default_factory=list)
    """Data that is read for neither."""


def select_data(paths: Iterable[str]) -> list[str]:
    """Picks what can be data at all, by its ending, at the top or one folder below."""
    return sorted(path for path in paths if path.endswith((*_RECORDS, *_DOCUMENTS)) and path.count("/") <= 1)


def find_data(paths: Iterable[str]) -> DataFiles:
    """Sorts the files of a folder into training and validation.

    Names decide: `train*`, `training*` and the folders `train/`, `training/` are for training; `val*`, `validation*`,
    `dev*` and folders of these names are for validation; `test*` is for neither. Where no name says training, every
    other file at the top is. Beside `.jsonl` and `.parquet` files, `.json` files are taken for something else (a
    description, an index).
    """
    candidates = select_data(paths)
    validation = _records_first(path for path in candidates if _is_named(path, _VALIDATION))
    training = _records_first(path for path in candidates if _is_named(path, _TRAINING))
    if not training:
        training = _records_first(
            path for path in candidates if _is_at_top(path) and not _is_named(path, _VALIDATION) and not _is_test(path)
        )
    return DataFiles(training, validation, sorted({*candidates} - {*training, *validation}))


def find_validation(paths: Iterable[str]) -> list[str]:
    """Picks the files of a source that was named for validation: those that say so, else all."""
    candidates = select_data(paths)
    return find_data(candidates).validation or _records_first(path for path in candidates if _is_at_top(path))


def _is_named(path: str, names: tuple[str, ...]) -> bool:
    pure = PurePosixPath(path)
    if not _is_at_top(path):
        return pure.parts[0] in names
    return pure.name.startswith(names)


def _is_test(path: str) -> bool:
    return _TEST.match(PurePosixPath(path).name) is not None


def _is_at_top(path: str) -> bool:
    folder, slash, _ = path.rpartition("/")
    return not slash or folder in _NAMELESS_FOLDERS


def _records_first(paths: Iterable[str]) -> list[str]:
    found = sorted(paths)
    return [path for path in found if path.endswith(_RECORDS)] or found
