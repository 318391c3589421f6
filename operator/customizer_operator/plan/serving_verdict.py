"""Whether a canary is good enough."""

from dataclasses import dataclass
from typing import Literal

from customizer_operator.api.model_evaluation import EvaluationStatus, Rollout
from customizer_operator.api.serving_reasons import ServingReason

_DIGITS = 12
_REMEDY = "Serve another artifact, or ask for less in spec.rollout."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a canary."""

    outcome: Literal["Promoted", "RolledBack"]
    reason: str
    message: str


def judge(rollout: Rollout, score: EvaluationStatus, previous: EvaluationStatus | None) -> Verdict | None:
    """Compares the score of a canary with the bound and with that of the served version, as far as that is asked.

    Returns None where only the served version's score is missing; without one, `compareWith` must be None.
    """
    told, bound = _tell(score), rollout.minimum_score
    if bound is not None and score.score < bound:
        message = f"{told}, and rollout.minimumScore is {bound:g}: its canary was removed. {_REMEDY}"
        return Verdict("RolledBack", ServingReason.SCORE_TOO_LOW, message)
    compared = ""
    if rollout.compare_with == "Previous":
        if previous is None:
            return None
        compared = f", and what was served before, {describe(previous.manifest_digest)}, scores {previous.score:.4g}"
        if score.score < previous.score:
            message = f"{told}{compared}: its canary was removed. {_REMEDY}"
            return Verdict("RolledBack", ServingReason.WORSE_THAN_PREVIOUS, message)
    return Verdict("Promoted", ServingReason.CANARY_PROMOTED, f"{told}{compared}: it is good enough.")


def describe(manifest_digest: str | None) -> str:
    """Names a version for people."""
    return "the base model" if manifest_digest is None else f"artifact {manifest_digest[:_DIGITS]}"


def tell_score(score: EvaluationStatus) -> str:
    """Tells how a version has answered."""
    said = f" {score.message}" if score.message else ""
    return f"{_tell(score)}.{said}"


def _tell(score: EvaluationStatus) -> str:
    name = describe(score.manifest_digest)
    refused = f", of which the server did not take {score.refused}" if score.refused else ""
    loss = f", a loss of {score.loss:.4g}" if score.loss is not None else ""
    scores = f"scores {score.score:.4g} by {score.metric} of {score.samples} samples{refused}{loss}"
    return f"{name[:1].upper()}{name[1:]} {scores}"
