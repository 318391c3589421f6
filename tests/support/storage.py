"""The local cluster's object store, for tests and the demo. Run below `.cluster/run`."""

import base64
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from tests.support import kubectl

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NAMESPACE = "object-storage"
ENDPOINT = "http://s3.object-storage.svc.cluster.local:7070"
CREDENTIALS = "s3-credentials"
"""The Secret, in the store's own namespace, that holds its development keys."""


@cache
def keys() -> dict[str, str]:
    """Reads the development keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    secret = kubectl.get("secret", CREDENTIALS, NAMESPACE)
    assert secret is not None, "the local cluster has no object store; run `make up`"
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


@cache
def client() -> "S3Client":
    """Connects to the store."""
    pair = keys()
    return boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        region_name="us-east-1",
        aws_access_key_id=pair["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=pair["AWS_SECRET_ACCESS_KEY"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def secret(name: str, namespace: str) -> dict[str, Any]:
    """Builds the Secret that a job's `objectStorage.credentialsSecretRef` names."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": keys(),
    }


def make_bucket(bucket: str) -> None:
    """Makes a bucket unless it is there."""
    if bucket not in {entry["Name"] for entry in client().list_buckets()["Buckets"]}:
        client().create_bucket(Bucket=bucket)


def sizes(bucket: str, prefix: str) -> dict[str, int]:
    """Lists the keys below a prefix with their sizes in bytes."""
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}


def upload(path: Path, bucket: str, prefix: str) -> int:
    """Uploads a file, or the files of a folder, where size differs; returns how many bytes went up."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    there = sizes(bucket, prefix)
    wanted = {
        (prefix if path.is_file() else f"{prefix.rstrip('/')}/{file.relative_to(path).as_posix()}"): file
        for file in files
    }
    missing = {key: file for key, file in wanted.items() if there.get(key) != file.stat().st_size}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda item: client().upload_file(str(item[1]), bucket, item[0]), missing.items()))
    return sum(file.stat().st_size for file in missing.values())


def remove(bucket: str, prefix: str) -> None:
    """Removes all objects below a prefix."""
    for key in sizes(bucket, prefix):
        client().delete_object(Bucket=bucket, Key=key)
