"""S3. Errors are those of the catalogue, after bounded retries."""

import base64
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)

from customizer_contract.artifact import File
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.sources import ObjectStorage
from customizer_trainer.storage import ranges
from customizer_trainer.storage.digest import FILES_AT_ONCE
from customizer_trainer.storage.store import Store, StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

_MEBIBYTE = 2**20
_UPLOAD = TransferConfig(multipart_threshold=16 * _MEBIBYTE, multipart_chunksize=ranges.PART_BYTES, max_concurrency=8)
_PIECE = 2**20
_DENIED = frozenset({401, 403})
_MISSING = 404
_PRECONDITION_FAILED = 412
_CONFLICT = 409
_NOT_IMPLEMENTED = 501


def split(uri: str) -> tuple[str, str]:
    """Splits `s3://bucket/key` into bucket and key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


class S3(Store):
    """A client. Addresses are `s3://bucket/key`."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._where = storage.endpoint_url or f"S3 in {storage.region}"
        config = Config(
            signature_version="s3v4",
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=FILES_AT_ONCE * 8,
            retries={"mode": "standard", "total_max_attempts": 6},
            s3={
                # Own servers seldom have a name in DNS for each bucket.
                "addressing_style": "path" if storage.endpoint_url else "auto",
                # All that is sent has a checksum in a header, which is signed: no need to digest it once more.
                "payload_signing_enabled": False,
            },
        )
        self._client: S3Client = boto3.client(
            "s3", endpoint_url=storage.endpoint_url, region_name=storage.region, config=config
        )

    def read(self, uri: str) -> bytes | None:
        """Returns a small object's content, or None if there is no such object."""
        bucket, key = split(uri)
        with self._errors(uri):
            try:
                return self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
            except ClientError as error:
                if _status(error) == _MISSING:
                    return None
                raise

    def read_pieces(self, uri: str, *, missing: Reason) -> Iterator[bytes]:
        """Reads an object of any size, piece by piece."""
        bucket, key = split(uri)
        with self._errors(uri, missing):
            yield from self._client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(_PIECE)

    def list_objects(self, uri: str, *, missing: Reason) -> list[StoredObject]:
        """Lists what is at an address: the object of that name if there is one, else all below it as a folder."""
        bucket, key = split(uri)
        with self._errors(uri, missing):
            if key and not key.endswith("/"):
                exact = self._head(bucket, key)
                if exact is not None:
                    return [exact]
            prefix = f"{key.rstrip('/')}/" if key else ""
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [
                StoredObject(
                    found["Key"].removeprefix(prefix), f"s3://{bucket}/{found['Key']}", found["Size"], found["ETag"]
                )
                for page in pages
                for found in page.get("Contents", [])
                if not found["Key"].endswith("/")
            ]

    def find_any(self, prefix: str, *, missing: Reason) -> str | None:
        """Returns the address of one of the objects below a prefix, as a folder; None if there is none."""
        bucket, key = split(f"{prefix.rstrip('/')}/")
        with self._errors(prefix, missing):
            # More than one: a folder may have an object of its own, which holds nothing.
            page = self._client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=10)
        keys = [found["Key"] for found in page.get("Contents", []) if not found["Key"].endswith("/")]
        return f"s3://{bucket}/{keys[0]}" if keys else None

    def exists(self, uri: str) -> bool:
        """Tells whether there is an object of exactly this name."""
        with self._errors(uri):
            return self._head(*split(uri)) is not None

    def put(self, uri: str, content: bytes) -> None:
        """Writes a small object, replacing what was there."""
        bucket, key = split(uri)
        with self._errors(uri, Reason.OUTPUT_NOT_FOUND):
            self._client.put_object(Bucket=bucket, Key=key, Body=content, ChecksumSHA256=_checksum(content))

    def put_if_absent(self, uri: str, content: bytes) -> bool:
        """Writes a small object unless there is one; tells whether it did. Of two writers at once, one wins.

        Where the server has no conditional writes, it looks first.
        """
        bucket, key = split(uri)
        with self._errors(uri, Reason.OUTPUT_NOT_FOUND):
            try:
                self._client.put_object(
                    Bucket=bucket, Key=key, Body=content, ChecksumSHA256=_checksum(content), IfNoneMatch="*"
                )
            except ClientError as error:
                if _status(error) in {_PRECONDITION_FAILED, _CONFLICT}:
                    return False
                if _status(error) != _NOT_IMPLEMENTED:
                    raise
                # A server without conditions: two writers at the same moment could both believe that they won.
                if self._head(bucket, key) is not None:
                    return False
                self._client.put_object(Bucket=bucket, Key=key, Body=content, ChecksumSHA256=_checksum(content))
        return True

    def delete_object(self, uri: str) -> None:
        """Deletes one object if it is there."""
        bucket, key = split(uri)
        with self._errors(uri):
            self._client.delete_object(Bucket=bucket, Key=key)

    def _bring(self, uri: str, target: Path, missing: Reason) -> None:
        bucket, key = split(uri)
        with self._errors(uri, missing):
            found = self._head(bucket, key)
            if found is None:
                raise CustomizerError(missing, f"{uri}: no such object in {self._where}.")

            def ask(begin: int, end: int) -> ranges.Body:
                part = f"bytes={begin}-{end - 1}"
                answer = self._client.get_object(Bucket=bucket, Key=key, Range=part, IfMatch=found.etag)
                return cast(ranges.Body, answer["Body"])

            ranges.bring(ask, found.size_bytes, target)

    def _send(self, local: Path, uri: str, file: File) -> None:
        bucket, key = split(uri)
        with self._errors(uri, Reason.OUTPUT_NOT_FOUND):
            self._client.upload_file(
                str(local),
                bucket,
                key,
                ExtraArgs={"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": file.sha256}},
                Config=_UPLOAD,
            )

    def _holds(self, uri: str, file: File) -> bool:
        bucket, key = split(uri)
        with self._errors(uri, Reason.OUTPUT_NOT_FOUND):
            try:
                head = self._client.head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if _status(error) == _MISSING:
                    return False
                raise
        return head["ContentLength"] == file.size_bytes and head["Metadata"].get("sha256") == file.sha256

    def _head(self, bucket: str, key: str) -> StoredObject | None:
        try:
            head = self._client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if _status(error) == _MISSING:
                return None
            raise
        return StoredObject(key.rpartition("/")[2], f"s3://{bucket}/{key}", head["ContentLength"], head["ETag"])

    @contextmanager
    def _errors(self, uri: str, missing: Reason = Reason.STORAGE_UNAVAILABLE) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._translate(error, uri, missing) from error
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
            raise CustomizerError(Reason.ACCESS_DENIED, f"{uri}: no usable credentials for {self._where}.") from error
        except S3UploadFailedError as error:
            cause = error.__context__
            if isinstance(cause, ClientError):
                raise self._translate(cause, uri, missing) from error
            raise CustomizerError(Reason.STORAGE_UNAVAILABLE, f"{uri}: the upload failed: {error}.") from error
        except BotoCoreError as error:
            raise CustomizerError(
                Reason.STORAGE_UNAVAILABLE, f"{uri}: {self._where} does not answer: {error}."
            ) from error

    def _translate(self, error: ClientError, uri: str, missing: Reason) -> CustomizerError:
        code = error.response.get("Error", {}).get("Code", "")
        status = _status(error)
        if status == _MISSING:
            what = f"no bucket {split(uri)[0]}" if code == "NoSuchBucket" else "no such object"
            return CustomizerError(missing, f"{uri}: {what} in {self._where}.")
        if status in _DENIED:
            return CustomizerError(Reason.ACCESS_DENIED, f"{uri}: {self._where} refuses access ({code}).")
        return CustomizerError(Reason.STORAGE_UNAVAILABLE, f"{uri}: {self._where} answers {status} ({code}).")


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
