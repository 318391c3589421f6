"""Which files of a source are training data and which are validation data: pure decisions over relative paths."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

_LINES = (".jsonl", ".jsonl.gz")
_DOCUMENTS = (".json", ".json.gz")
_TRAINING = ("train", "training")
_VALIDATION = ("val", "validation", "dev")


@dataclass(frozen=True, slots=True)
class DataFiles:
    """Relative paths, in the order in which they are read."""

    training: list[str]
    validation: list[str]


def select_data(paths: Iterable[str]) -> list[str]:
    """Picks what can be data at all: `.jsonl` and `.json`, also with `.gz`, at the top or one folder below."""
    return sorted(path for path in paths if path.endswith((*_LINES, *_DOCUMENTS)) and path.count("/") <= 1)


def find_data(paths: Iterable[str]) -> DataFiles:
    """Sorts the files of a folder into training and validation.

    Names decide: `train*`, `training*` and the folders `train/`, `training/` are for training; `val*`, `validation*`,
    `dev*` and folders of these names are for validation. Where no name says training, every other file at the top is.
    Beside `.jsonl` files, `.json` files are taken for something else (a description, an index).
    """
    candidates = select_data(paths)
    validation = _lines_first(path for path in candidates if _is_named(path, _VALIDATION))
    training = _lines_first(path for path in candidates if _is_named(path, _TRAINING))
    if not training:
        training = _lines_first(path for path in candidates if "/" not in path and not _is_named(path, _VALIDATION))
    return DataFiles(training, validation)


def find_validation(paths: Iterable[str]) -> list[str]:
    """Picks the files of a source that was named for validation: those that say so, else all."""
    candidates = select_data(paths)
    return find_data(candidates).validation or _lines_first(path for path in candidates if "/" not in path)


def _is_named(path: str, names: tuple[str, ...]) -> bool:
    pure = PurePosixPath(path)
    if len(pure.parts) > 1:
        return pure.parts[0] in names
    return pure.name.startswith(names)


def _lines_first(paths: Iterable[str]) -> list[str]:
    found = sorted(paths)
    return [path for path in found if path.endswith(_LINES)] or found
