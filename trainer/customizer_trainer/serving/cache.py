"""A volume that servers share: each model in a folder of its own, brought once and by one of them at a time."""

import fcntl
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from customizer_contract.artifact import File
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import ModelInput
from customizer_contract.result import BaseVersion
from customizer_contract.sources import display
from customizer_trainer.storage.digest import FILES_AT_ONCE, file_digest

_LOCK_FILE = ".lock"


def name_model(model: ModelInput, version: BaseVersion | None) -> str:
    """Names the folder of a base model: by its address, whether its code came along, and its state if that is known.

    So files that change at the address never take the place of those that a server has.
    """
    state = version.digest if version is not None else None
    return hashlib.sha256(f"{display(model.source)} {model.trust_remote_code} {state}".encode()).hexdigest()


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keeps a folder for oneself; whoever comes meanwhile waits. The lock goes with the process that holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def point(link: Path, folder: Path) -> None:
    """Makes `link` lead to a folder."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    link.symlink_to(folder, target_is_directory=True)


def is_complete(files: Iterable[File], folder: Path) -> bool:
    """Tells whether all files are there and are what the manifest says."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return all(pool.map(lambda file: _is(folder / file.path, file), files))


def _is(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and file_digest(path) == file.sha256


def check_strangers(folder: Path, paths: Iterable[str]) -> None:
    """Raises ArtifactInvalid for a file that is none of the model's: a server might load it."""
    known = set(paths)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and not path.name.startswith(".") and name not in known:
            raise CustomizerError(
                Reason.ARTIFACT_INVALID,
                f"{folder.name}/{name} on the cache volume is no file of the model: remove it.",
                file=name,
            )
