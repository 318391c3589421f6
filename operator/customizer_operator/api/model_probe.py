"""The probe of a ModelDeployment: a question that every server must answer before requests are sent to it."""

from pydantic import Field

from customizer_contract.adapters import Message
from customizer_contract.base import CelRule, Model
from customizer_operator.api.common import ServedName


class Probe(Model):
    """A question that a server must answer as expected: when it has started, and after each change of its adapters."""

    model: ServedName | None = None
    """The name that is asked. Default: the tuned model, or the only one."""
    prompt: str | None = Field(None, min_length=1, max_length=8192)
    """Asked at /v1/completions: for models trained on prompt/completion data."""
    messages: list[Message] | None = Field(None, min_length=1, max_length=16)
    """Asked at /v1/chat/completions: for models trained on conversations."""
    expected_text: str | None = Field(None, min_length=1, max_length=1024)
    """What the answer must hold. Default: any answer will do."""
    expected_pattern: str | None = Field(None, min_length=1, max_length=1024)
    """A regular expression (Python's) that must match somewhere in the answer."""
    max_tokens: int = Field(16, ge=1, le=1024)
    """Length of the answer."""
    timeout_seconds: int = Field(30, ge=1, le=600)
    """The answer must be complete within."""

    cel_rules = (
        CelRule("has(self.prompt) != has(self.messages)", "exactly one of prompt and messages must be given"),
        CelRule(
            "!has(self.expectedText) || !has(self.expectedPattern)",
            "expectedText and expectedPattern exclude one another; a pattern can hold the text",
        ),
    )


class ProbeStatus(Model):
    """How the servers have answered."""

    passed: str
    """Replicas that answered as expected, of those asked for: 2/2."""
    answer: str | None = None
    """What one of them answered, cut short: a wrong answer if there is one."""
    message: str | None = None
    """What is wrong with it."""
