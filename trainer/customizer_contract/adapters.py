"""What the operator wishes of a server while it runs, and what the sidecar of each replica tells."""

import hashlib
from typing import Literal

from pydantic import Field

from customizer_contract.artifact import AdapterReference
from customizer_contract.base import Model
from customizer_contract.errors import Reason
from customizer_contract.evaluation import EvaluationInput, EvaluationReport
from customizer_contract.serving import ArtifactInput

SIDECAR_PORT = 8085
"""Port of a server's sidecar: `/report` for the operator, `/ready` for the kubelet."""

NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
"""Names under which models are served; they are names of folders too."""


class AdapterInput(Model):
    """An adapter that shall be served."""

    name: str = Field(pattern=NAME_PATTERN, max_length=63)
    artifact: ArtifactInput


class Message(Model):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: str = Field(max_length=8192)
    """What is said."""


class ProbeInput(Model):
    """A question that a server must answer before it counts as ready."""

    model: str
    prompt: str | None = None
    """Asked at /v1/completions."""
    messages: list[Message] | None = None
    """Asked at /v1/chat/completions."""
    expected_text: str | None = None
    expected_pattern: str | None = None
    max_tokens: int
    timeout_seconds: int


class Wish(Model):
    """What a server shall do."""

    adapters: list[AdapterInput] = []
    """All the adapters that shall be served beside what was staged; others are unloaded."""
    probe: ProbeInput | None = None
    evaluation: EvaluationInput | None = None
    """Asked of one replica of a version only."""

    @property
    def digest(self) -> str:
        """sha256 of what all replicas are told: tells whether a sidecar has read the newest wish."""
        return hashlib.sha256(self.model_copy(update={"evaluation": None}).to_json().encode()).hexdigest()


class AdapterReport(Model):
    """An adapter as one replica has it."""

    name: str
    state: Literal["Loaded", "Loading", "Refused"]
    """Loaded: the server answers to its name, with this very artifact. Refused: somebody has to do something."""
    manifest_digest: str | None = None
    """sha256 of its manifest, once that was read."""
    prompt_format: Literal["completion", "chat"] | None = None
    adapter: AdapterReference | None = None
    reason: Reason | None = None
    """Why it is not loaded."""
    message: str | None = None
    """One or two sentences: what is wrong, and what to change."""


class ProbeReport(Model):
    """How a server has answered."""

    passed: bool
    answer: str | None = None
    """What it answered, cut short."""
    message: str | None = None
    """What was wrong."""


class SidecarReport(Model):
    """What a sidecar tells."""

    wish: str
    """Digest of the wish that it has read last; empty before the first."""
    adapters: list[AdapterReport] = []
    models: list[str] | None = None
    """Names that the server lists; None while it does not answer."""
    probe: ProbeReport | None = None
    """None: not asked yet."""
    evaluation: EvaluationReport | None = None
    """None: nothing is asked, or nothing was answered yet."""
