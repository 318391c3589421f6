"""A published artifact: its manifest, and whether what lies beside it is what the manifest says."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import ValidationError

from customizer_contract.artifact import MANIFEST_FILE, File, Manifest
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.result import ArtifactReference
from customizer_contract.serving import ArtifactInput
from customizer_trainer.storage.digest import FILES_AT_ONCE
from customizer_trainer.storage.s3 import S3
from customizer_trainer.storage.store import StoredObject, join

_NAMED = 3
"""Files that a message names; of more it gives the number."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A manifest that was read, and where."""

    uri: str
    digest: str
    """sha256 of manifest.json."""
    manifest: Manifest

    @property
    def reference(self) -> ArtifactReference:
        """What the operator needs to know of it."""
        manifest = self.manifest
        return ArtifactReference(
            name=manifest.name,
            uri=self.uri,
            manifest_digest=self.digest,
            type=manifest.type,
            base_model=manifest.base_model.uri,
            size_bytes=sum(file.size_bytes for file in manifest.files),
            prompt_format=manifest.prompt_format,
            adapter=manifest.adapter,
        )


def read_artifact(wanted: ArtifactInput, s3: S3) -> Artifact:
    """Reads the manifest and checks that it is the one wanted.

    Raises ArtifactNotFound without a manifest, ArtifactInvalid if it is another one or cannot be trusted.
    """
    uri = join(wanted.uri, MANIFEST_FILE)
    content = s3.read(uri)
    if content is None:
        raise CustomizerError(Reason.ARTIFACT_NOT_FOUND, f"{uri}: no such object.", file=MANIFEST_FILE)
    return parse_artifact(wanted, content)


def parse_artifact(wanted: ArtifactInput, content: bytes) -> Artifact:
    """Reads a manifest's bytes; the errors are those of `read_artifact`."""
    uri = join(wanted.uri, MANIFEST_FILE)
    digest = hashlib.sha256(content).hexdigest()
    if wanted.manifest_digest not in (None, digest):
        raise CustomizerError(
            Reason.ARTIFACT_INVALID,
            f"{uri}: its sha256 is {digest}, not {wanted.manifest_digest} as asked for.",
            file=MANIFEST_FILE,
        )
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise CustomizerError(
            Reason.ARTIFACT_INVALID, f"{uri}: {field or 'the file'}: {first['msg']}.", file=MANIFEST_FILE, field=field
        ) from error
    for file in manifest.files:
        if not _is_inside(file.path):
            raise CustomizerError(
                Reason.ARTIFACT_INVALID, f"{uri}: {file.path!r} is not a path below the artifact.", file=MANIFEST_FILE
            )
    if (manifest.type == "adapter") != (manifest.adapter is not None):
        raise CustomizerError(
            Reason.ARTIFACT_INVALID, f"{uri}: type {manifest.type} does not go with its adapter block.", field="adapter"
        )
    return Artifact(wanted.uri, digest, manifest)


def check_listing(artifact: Artifact, listing: Iterable[StoredObject]) -> None:
    """Raises ArtifactInvalid if a file of the manifest is missing or of another size, and names it."""
    sizes = {stored.path: stored.size_bytes for stored in listing}
    faults = [
        f"{file.path} is missing"
        if file.path not in sizes
        else f"{file.path} has {sizes[file.path]} bytes instead of {file.size_bytes}"
        for file in artifact.manifest.files
        if sizes.get(file.path) != file.size_bytes
    ]
    if faults:
        more = f", and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise CustomizerError(Reason.ARTIFACT_INVALID, f"{artifact.uri}: {', '.join(faults[:_NAMED])}{more}.")


def check_strangers(artifact: Artifact, listing: Iterable[StoredObject]) -> None:
    """Raises ArtifactInvalid for a file that the manifest does not name: who reads the whole folder might load it."""
    known = {MANIFEST_FILE, *(file.path for file in artifact.manifest.files)}
    stranger = next((stored.path for stored in listing if stored.path not in known), None)
    if stranger is not None:
        raise CustomizerError(
            Reason.ARTIFACT_INVALID,
            f"{join(artifact.uri, stranger)} is not in the manifest: remove it, or choose weights: Staged.",
            file=stranger,
        )


def check_contents(artifact: Artifact, s3: S3) -> None:
    """Reads every file where it is stored; raises ArtifactInvalid for one that differs from the manifest."""

    def check(file: File) -> None:
        uri = join(artifact.uri, file.path)
        digest, size = hashlib.sha256(), 0
        for piece in s3.read_pieces(uri, missing=Reason.ARTIFACT_INVALID):
            digest.update(piece)
            size += len(piece)
        if (size, digest.hexdigest()) != (file.size_bytes, file.sha256):
            raise CustomizerError(
                Reason.ARTIFACT_INVALID, f"{uri}: size or sha256 differ from the manifest.", file=file.path
            )

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        list(pool.map(check, artifact.manifest.files))


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts and "\0" not in path
