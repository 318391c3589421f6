"""The parts of a spec that both kinds share: where models and data are, credentials, resources."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from customizer_contract.base import CelRule, Model
from customizer_contract.sources import S3_URI_PATTERN
from customizer_operator.api.base import MUTABLE

Name = Annotated[str, Field(min_length=1, max_length=253)]
"""Name of an object in the same namespace."""

QUANTITY_PATTERN = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][0-9]+)?$"

ENDPOINT_PATTERN = r"^https?://[^\s@]+$"
"""A URL without a name and a password, which would be told in messages."""

Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
    Field(pattern=QUANTITY_PATTERN),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN}),
]
"""An amount of a resource, as Kubernetes writes it: 500m, 8Gi, 4."""

ServedName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=63)]
"""Name under which a model is served."""

GpuResource = Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$", max_length=128)]
"""Name under which nodes offer GPUs."""


class SecretReference(Model):
    """A Secret of the same namespace."""

    name: Name
    """Name of the Secret."""


class SecretKeyReference(Model):
    """A key of a Secret of the same namespace."""

    name: Name
    """Name of the Secret."""
    key: str = Field("HF_TOKEN", min_length=1, max_length=253)
    """Key within it."""


class S3Location(Model):
    """An object or a prefix in S3."""

    uri: str = Field(pattern=S3_URI_PATTERN, max_length=1024)
    """s3://bucket/key; a key that ends in a slash, or that is a prefix, means everything below it."""


class HuggingFaceLocation(Model):
    """A repository of the Hugging Face hub."""

    repo: str = Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", max_length=200)
    """owner/name."""
    revision: str = Field("main", min_length=1, max_length=200)
    """Branch, tag or commit. Name a commit where the result must be reproducible."""
    token_secret_ref: SecretKeyReference | None = Field(None, json_schema_extra=MUTABLE)
    """The token for a gated or private repository."""


class ClaimLocation(Model):
    """A file or folder on a volume, mounted read-only."""

    claim_name: Name
    """Name of the PersistentVolumeClaim."""
    path: str = Field("", pattern=r"^([A-Za-z0-9._@=+-]+(/[A-Za-z0-9._@=+-]+)*)?$", max_length=1024)
    """Path within the volume; the whole volume when empty."""

    cel_rules = (
        CelRule(
            "!self.path.split('/').exists(part, part == '..')",
            "path must stay within the volume: remove the '..'",
        ),
    )


class Source(Model):
    """Where something is read from. Exactly one member is given."""

    hugging_face: HuggingFaceLocation | None = None
    """A repository of the Hugging Face hub."""
    s3: S3Location | None = None
    """An object or a prefix in S3."""
    persistent_volume_claim: ClaimLocation | None = None
    """A file or folder on a volume."""

    cel_rules = (
        CelRule(
            "[has(self.huggingFace), has(self.s3), has(self.persistentVolumeClaim)].filter(x, x).size() == 1",
            "name exactly one of huggingFace, s3 and persistentVolumeClaim",
        ),
    )


class ModelSource(Source):
    """The model to start from. Exactly one of huggingFace, s3 and persistentVolumeClaim is given."""

    trust_remote_code: bool = False
    """Whether Python code that comes with the model may run in the pods."""


class ObjectStorage(Model):
    """How S3 is reached."""

    endpoint_url: str | None = Field(None, pattern=ENDPOINT_PATTERN, max_length=1024)
    """URL of the S3 service. Default: that of AWS for the region."""
    region: str = Field("us-east-1", min_length=1, max_length=63)
    """Region of the buckets."""
    credentials_secret_ref: SecretReference | None = None
    """A Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    service_account_name: Name | None = None
    """A ServiceAccount with a workload identity, in place of a Secret."""

    cel_rules = (
        CelRule(
            "!(has(self.credentialsSecretRef) && has(self.serviceAccountName))",
            "give credentialsSecretRef or serviceAccountName, not both",
        ),
    )


class Resources(Model):
    """What a container asks of its node, as in a pod. GPUs are added by the operator."""

    requests: dict[str, Quantity] | None = Field(None, max_length=16)
    """Amounts reserved for the container."""
    limits: dict[str, Quantity] | None = Field(None, max_length=16)
    """Amounts that the container may not exceed."""


class Toleration(Model):
    """Lets pods onto nodes with a matching taint, as in a pod."""

    key: str | None = Field(None, max_length=317)
    """Key of the taint; every key when not given."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Whether the value must match or the key is enough."""
    value: str | None = Field(None, max_length=63)
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; every effect when not given."""
    toleration_seconds: int | None = None
    """How long a NoExecute taint is tolerated; for ever when not given."""


class Placement(Model):
    """Where pods may run and how their images are pulled."""

    node_selector: dict[str, str] | None = Field(None, max_length=32)
    """Labels that a node must have."""
    tolerations: list[Toleration] | None = Field(None, max_length=32)
    """Taints that the pods tolerate."""
    priority_class_name: Name | None = None
    """PriorityClass of the pods."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When images are pulled."""
    image_pull_secrets: list[SecretReference] | None = Field(None, max_length=8)
    """Secrets for the image registry."""
