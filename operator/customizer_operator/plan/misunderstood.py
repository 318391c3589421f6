"""What is told of a job whose spec this operator does not understand: CRD and operator are of two releases."""

from customizer_operator.api.customization_job_status import CustomizationJobStatus
from customizer_operator.api.reasons import ConditionReason, ConditionType
from customizer_operator.objects.names import is_owned_by
from customizer_operator.plan.conditions import Finding, date_conditions, keep_others
from customizer_operator.plan.plan import JOB, PYTORCH_JOB, Observed


def describe_misunderstood(
    observed: Observed, previous: CustomizationJobStatus, problem: str
) -> CustomizationJobStatus:
    """Returns the status: failed, unless the job has begun, which then is left as it is and needs help.

    A newer CRD gives its new fields to every job that is read, those included whose training runs.
    """
    begun = _has_begun(observed, previous)
    text = f"The operator does not understand the spec: {problem}. Install CRDs and operator of the same release."
    if begun:
        text += " Until then what runs goes on, and nothing is done about it."
    reason = ConditionReason.INVALID_SPEC
    findings = [
        Finding(ConditionType.ACCEPTED, "False", reason, text),
        Finding(ConditionType.COMPLETE, "False", reason, text),
        Finding(ConditionType.FAILED, "False" if begun else "True", reason, text),
        Finding(ConditionType.RECONCILING, "False", reason, text),
        Finding(ConditionType.STALLED, "True", reason, text),
    ]
    before = previous.conditions or ()
    generation = observed.subject["metadata"]["generation"]
    return previous.model_copy(
        update={
            "observed_generation": generation,
            "state": "Stalled" if begun else "Failed",
            "message": text,
            "conditions": date_conditions(
                before, keep_others(before, findings), generation=generation, now=observed.now
            ),
        }
    )


def _has_begun(observed: Observed, status: CustomizationJobStatus) -> bool:
    """Tells whether an operator has understood the spec before, and acted on it."""
    if status.dataset is not None or status.attempts:
        return True
    uid = observed.subject["metadata"]["uid"]
    return any(is_owned_by(item, uid) for resource in (JOB, PYTORCH_JOB) for item in observed.of(resource))
