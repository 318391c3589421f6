"""A folder of this machine in the place of S3, for `run`. Addresses are `file:///folder/file`."""

import itertools
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from customizer_contract.artifact import File
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.sources import FILE_SCHEME
from customizer_trainer.storage.digest import file_digest
from customizer_trainer.storage.store import Store, StoredObject


def to_path(uri: str) -> Path:
    """Returns the path of an address."""
    return Path(uri.removeprefix(FILE_SCHEME))


class Folder(Store):
    """The disk. A file is there as a whole or not at all, as in S3."""

    def read(self, uri: str) -> bytes | None:
        """Returns a small file's content, or None if there is no such file."""
        with _errors(uri):
            path = to_path(uri)
            return path.read_bytes() if path.is_file() else None

    def list_objects(self, uri: str, *, missing: Reason) -> list[StoredObject]:
        """Lists what is at an address: the file of that name if there is one, else all below it."""
        with _errors(uri, missing):
            path = to_path(uri)
            if path.is_file() and not uri.endswith("/"):
                return [_describe(path, path.parent)]
            return [_describe(file, path) for file in _walk(path)]

    def find_any(self, prefix: str, *, missing: Reason) -> str | None:
        """Returns the address of one of the files below a folder; None if there is none."""
        with _errors(prefix, missing):
            found = next(_walk(to_path(prefix)), None)
        return None if found is None else f"{FILE_SCHEME}{found}"

    def exists(self, uri: str) -> bool:
        """Tells whether there is a file of this name."""
        return to_path(uri).is_file()

    def put(self, uri: str, content: bytes) -> None:
        """Writes a small file, replacing what was there."""
        with _errors(uri), _written(to_path(uri)) as partial:
            partial.write_bytes(content)

    def put_if_absent(self, uri: str, content: bytes) -> bool:
        """Writes a small file unless there is one; tells whether it did. Of two writers at once, one wins."""
        path = to_path(uri)
        with _errors(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = _partial(path)
            partial.write_bytes(content)
            try:
                path.hardlink_to(partial)
            except FileExistsError:
                return False
            finally:
                partial.unlink()
        return True

    def delete_object(self, uri: str) -> None:
        """Deletes one file if it is there, and the folders that are empty then."""
        path = to_path(uri)
        with _errors(uri):
            path.unlink(missing_ok=True)
            for folder in itertools.takewhile(_is_empty, path.parents):
                folder.rmdir()

    def _bring(self, uri: str, target: Path, missing: Reason) -> None:
        with _errors(uri, missing):
            shutil.copyfile(to_path(uri), target)

    def _send(self, local: Path, uri: str, file: File) -> None:
        with _errors(uri), _written(to_path(uri)) as partial:
            shutil.copyfile(local, partial)

    def _holds(self, uri: str, file: File) -> bool:
        path = to_path(uri)
        return path.is_file() and path.stat().st_size == file.size_bytes and file_digest(path) == file.sha256


def _walk(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _describe(path: Path, folder: Path) -> StoredObject:
    status = path.stat()
    etag = f"{status.st_mtime_ns}-{status.st_ino}"
    return StoredObject(path.relative_to(folder).as_posix(), f"{FILE_SCHEME}{path}", status.st_size, etag)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is None


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Gives a file to write, which takes the place of `path` when all is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _errors(uri: str, missing: Reason = Reason.OUTPUT_NOT_FOUND) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise CustomizerError(missing, f"{uri}: {error.strerror}.") from error
