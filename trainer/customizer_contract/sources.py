"""Where models and data are, as the trainer sees them: credentials come by environment, volumes are mounted."""

from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from customizer_contract.base import Model

S3_URI_PATTERN = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()/=+@,:-]*)?$"
"""A bucket and an optional key or prefix."""
FILE_SCHEME = "file://"
"""What the address of a file or folder of this machine begins with; an absolute path follows, as it is."""
OUTPUT_URI_PATTERN = rf"({S3_URI_PATTERN})|(^{FILE_SCHEME}/.+$)"


class S3Source(Model):
    """An object or a prefix in S3."""

    kind: Literal["s3"] = "s3"
    uri: str = Field(pattern=S3_URI_PATTERN)


class HuggingFaceSource(Model):
    """A repository of the Hugging Face hub; `HF_TOKEN` in the environment when it is gated."""

    kind: Literal["huggingFace"] = "huggingFace"
    repo: str
    revision: str = "main"


class VolumeSource(Model):
    """A file or folder on a mounted volume; `claim_name` is only for naming it to people."""

    kind: Literal["volume"] = "volume"
    path: PurePosixPath
    claim_name: str
    claim_path: str = ""


class LocalSource(Model):
    """A file or folder of this machine, for `run`: no CustomizationJob can name one."""

    kind: Literal["local"] = "local"
    path: Path


Source = S3Source | HuggingFaceSource | VolumeSource | LocalSource


def display(source: Source) -> str:
    """Names a source for people and manifests: `s3://bucket/key`, `hf://org/name@revision`, `pvc://claim/path`,
    `file:///path`.
    """
    if isinstance(source, S3Source):
        return source.uri
    if isinstance(source, HuggingFaceSource):
        return f"hf://{source.repo}@{source.revision}"
    if isinstance(source, LocalSource):
        return f"{FILE_SCHEME}{source.path}"
    return f"pvc://{source.claim_name}/{source.claim_path}".rstrip("/")


class ObjectStorage(Model):
    """How to reach S3. Keys come as `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or by workload identity."""

    endpoint_url: str | None = None
    region: str = "us-east-1"
