"""The held-out questions that a server is asked after it has started, and how many it answers as it should."""

import hashlib
from typing import Literal

from pydantic import Field

from customizer_contract.base import Model
from customizer_contract.errors import Reason
from customizer_contract.sources import S3_URI_PATTERN

Metric = Literal["ExactMatch", "Contains", "Loss"]


class EvaluationInput(Model):
    """What a server is asked, once."""

    occasion: str
    """Tells versions, and times, apart: the same questions on another occasion are asked anew."""
    model: str
    uri: str = Field(pattern=S3_URI_PATTERN)
    prompt_template: str | None = None
    """Two columns as `{column} {column}`; the last one is the expected answer."""
    metric: Metric
    max_samples: int
    max_tokens: int
    timeout_seconds: int
    """For each question."""

    @property
    def digest(self) -> str:
        """sha256 of all that is asked: tells what a report is about."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class EvaluationReport(Model):
    """How a server has answered."""

    question: str
    """Digest of what was asked."""
    score: float | None = None
    """From 0 to 1, more is better: the share of right answers; by Loss, e to the power of minus the loss. None: not
    known yet."""
    loss: float | None = None
    """By Loss: the mean over the tokens of the expected answers of minus the logarithm of their probability."""
    samples: int = 0
    """Samples that the score is about."""
    refused: int = 0
    """Samples of these that the server did not take; they count as wrong, and have no loss."""
    dataset_digest: str | None = None
    """sha256 over the files that the samples were taken from."""
    reason: Reason | None = None
    """Why there is no score; it is tried again."""
    message: str | None = None
    """One or two sentences: what is wrong."""
