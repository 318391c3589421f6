"""The adapters of a server: what the operator wishes, and what the sidecar of each replica tells."""

import hashlib
from typing import Literal

from pydantic import Field

from customizer_contract.artifact import AdapterReference
from customizer_contract.base import Model
from customizer_contract.errors import Reason
from customizer_contract.serving import ArtifactInput

SIDECAR_PORT = 8085
"""Port of a server's sidecar: `/report` for the operator, `/ready` for the kubelet."""

NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
"""Names under which models are served; they are names of folders too."""


class AdapterInput(Model):
    """An adapter that shall be served."""

    name: str = Field(pattern=NAME_PATTERN, max_length=63)
    artifact: ArtifactInput


class Wish(Model):
    """All the adapters that shall be served beside what was staged; others are unloaded."""

    adapters: list[AdapterInput] = []

    @property
    def digest(self) -> str:
        """sha256 of the wish: tells whether a sidecar has read the newest one."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


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


class SidecarReport(Model):
    """What a sidecar tells."""

    wish: str
    """Digest of the wish that it has read last; empty before the first."""
    adapters: list[AdapterReport] = []
