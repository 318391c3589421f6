"""What every store can do, S3 or a folder: the parts that do not depend on which it is."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from customizer_contract.artifact import File
from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.storage.digest import FILES_AT_ONCE, file_digest
from customizer_trainer.storage.downloads import DownloadIndex

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object below a prefix."""

    path: str
    """Relative to the prefix that was listed; the object's own name if the address was that of the object."""
    uri: str
    size_bytes: int
    etag: str


def join(prefix: str, path: str) -> str:
    """Appends a relative path to an address: `s3://b/a/` or `s3://b/a`, and `x/y`, give `s3://b/a/x/y`."""
    return f"{prefix.rstrip('/')}/{path}"


class Store(ABC):
    """Objects by address. `missing` is the reason that an absence means to the caller (`ModelNotFound`, ...)."""

    @abstractmethod
    def read(self, uri: str) -> bytes | None:
        """Returns a small object's content, or None if there is no such object."""

    @abstractmethod
    def list_objects(self, uri: str, *, missing: Reason) -> list[StoredObject]:
        """Lists what is at an address: the object of that name if there is one, else all below it as a folder."""

    @abstractmethod
    def find_any(self, prefix: str, *, missing: Reason) -> str | None:
        """Returns the address of one of the objects below a prefix, as a folder; None if there is none."""

    @abstractmethod
    def exists(self, uri: str) -> bool:
        """Tells whether there is an object of exactly this name."""

    @abstractmethod
    def put(self, uri: str, content: bytes) -> None:
        """Writes a small object, replacing what was there."""

    @abstractmethod
    def put_if_absent(self, uri: str, content: bytes) -> bool:
        """Writes a small object unless there is one; tells whether it did. Of two writers at once, one wins."""

    @abstractmethod
    def delete_object(self, uri: str) -> None:
        """Deletes one object if it is there."""

    @abstractmethod
    def _bring(self, uri: str, target: Path, missing: Reason) -> None:
        """Writes an object's content to a file."""

    @abstractmethod
    def _send(self, local: Path, uri: str, file: File) -> None:
        """Writes an object of this content and digest."""

    @abstractmethod
    def _holds(self, uri: str, file: File) -> bool:
        """Tells whether an object of this content is there already."""

    def download(
        self,
        uri: str,
        folder: Path,
        *,
        missing: Reason,
        select: Callable[[Iterable[str]], Iterable[str]] = lambda paths: paths,
    ) -> list[Path]:
        """Downloads the object, or the selected files below the prefix, into a folder; returns their local paths.

        What a former call has brought completely and nobody has changed since, here or there, is not brought again.
        """
        found = {stored.path: stored for stored in self.list_objects(uri, missing=missing)}
        chosen = [found[path] for path in select(sorted(found))]
        if not chosen:
            raise CustomizerError(missing, f"{uri}: nothing there that could be used.")
        index = DownloadIndex(folder)

        def bring(stored: StoredObject) -> Path:
            target = folder / stored.path
            if not index.holds(stored.path, stored.etag, stored.size_bytes):
                self._download(stored.uri, target, missing)
                index.add(stored.path, stored.etag)
            return target

        return _each(bring, chosen)

    def download_files(self, prefix: str, files: Iterable[File], folder: Path, *, missing: Reason) -> None:
        """Downloads the files of a manifest and verifies each; files that are there and right are not brought again.

        Raises ArtifactInvalid for a file whose content differs from what the manifest says.
        """

        def bring(file: File) -> None:
            target = folder / file.path
            if _is(target, file):
                return
            self._download(join(prefix, file.path), target, missing)
            if not _is(target, file):
                target.unlink()
                raise CustomizerError(
                    Reason.ARTIFACT_INVALID,
                    f"{join(prefix, file.path)}: size or sha256 differ from the manifest.",
                    file=file.path,
                )

        _each(bring, files)

    def upload(self, files: Mapping[str, Path], prefix: str) -> list[File]:
        """Uploads files under their relative paths, with checksums that the server verifies; returns their digests.

        A file that is already there with the same size and digest is not sent again.
        """

        def send(item: tuple[str, Path]) -> File:
            path, local = item
            file = File(path=path, size_bytes=local.stat().st_size, sha256=file_digest(local))
            if not self._holds(join(prefix, path), file):
                self._send(local, join(prefix, path), file)
            return file

        return _each(send, sorted(files.items()))

    def delete(self, prefix: str) -> None:
        """Deletes all objects below a prefix, as a folder."""
        for stored in self.list_objects(f"{prefix.rstrip('/')}/", missing=Reason.OUTPUT_NOT_FOUND):
            self.delete_object(stored.uri)

    def _download(self, uri: str, target: Path, missing: Reason) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        log.info("downloading %s", uri)
        self._bring(uri, partial, missing)
        partial.replace(target)


def _each(action: Callable[[Item], Outcome], items: Iterable[Item]) -> list[Outcome]:
    """Does it for all items, several at once; the first failure is raised and leaves the rest undone."""
    pool = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="store")
    try:
        return list(pool.map(action, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _is(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and file_digest(path) == file.sha256
