"""Preflight's verdict."""

from dataclasses import dataclass

from customizer_contract.catalogue import CATALOGUE
from customizer_contract.errors import Reason
from customizer_contract.result import DatasetFacts, ModelFacts
from customizer_operator.plan.attempts import describe_problem
from customizer_operator.plan.job_view import Preflight

_OUT_OF_MEMORY = (
    "Preflight ran out of memory, though it sets itself no limit: have the LimitRange of the namespace raised, or give"
    " its nodes more; then apply the job under another name."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What preflight found. Neither facts nor a failure: it passed, but its words are lost."""

    dataset: DatasetFacts | None = None
    model: ModelFacts | None = None
    failure: tuple[str, str] | None = None
    """Reason and message."""
    warnings: tuple[str, ...] = ()


def judge_preflight(preflight: Preflight) -> Verdict | None:
    """Returns the verdict, None while preflight runs. Whether to try again is the Job's own business."""
    results = [end.result for pod in preflight.pods for end in pod.ends if end.result is not None]
    for result in results:
        if result.dataset is not None and result.error is None:
            return Verdict(result.dataset, result.model, warnings=tuple(result.warnings))
    if preflight.complete:
        return Verdict()
    if not preflight.failed:
        return None
    last = results[-1] if results else None
    if last is not None and last.error is not None:
        warnings = tuple(last.warnings)
        return Verdict(failure=(str(last.error.reason), describe_problem(last.error)), warnings=warnings)
    entry = CATALOGUE[Reason.CRASHED]
    if any(end.cause == "OOMKilled" for pod in preflight.pods for end in pod.ends):
        return Verdict(failure=(str(Reason.OUT_OF_MEMORY), _OUT_OF_MEMORY))
    message = f"Preflight Job {preflight.name} failed: {preflight.message} {entry.remedy}"
    return Verdict(failure=(str(Reason.CRASHED), message))
