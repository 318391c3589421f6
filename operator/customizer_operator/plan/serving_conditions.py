"""What is told of a ModelDeployment: conditions, one word, one sentence; derived from what was found."""

from dataclasses import dataclass

from customizer_contract.errors import Reason
from customizer_contract.result import Problem
from customizer_operator.api.model_deployment import ModelDeployment, State
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.api.serving_reasons import ServingCondition, ServingReason
from customizer_operator.plan.conditions import Finding, Truth
from customizer_operator.plan.serving_adapters import Adapters
from customizer_operator.plan.serving_evaluation import Evaluated
from customizer_operator.plan.serving_replicas import Replicas
from customizer_operator.plan.serving_trial import Trial
from customizer_operator.plan.serving_trouble import Trouble
from customizer_operator.plan.serving_verdict import tell_score
from customizer_operator.plan.serving_verification import Refused, Unknown, Verified

_PROMOTED: dict[str, Truth] = {"Promoted": "True", "RolledBack": "False", "Trying": "Unknown"}


@dataclass(frozen=True, slots=True)
class Outlook:
    """All that the conditions follow from."""

    found: Trouble | Verified | Refused | Unknown
    replicas: Replicas | None
    """None while there is no Deployment."""
    trouble: Trouble | None = None
    adapters: Adapters | None = None
    """None if there is no room for any."""
    evaluated: Evaluated | None = None
    """None without spec.evaluation."""
    trial: Trial | None = None
    """None while it is not known what is to be served."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is told."""

    findings: tuple[Finding, ...]
    state: State
    message: str


def recall_refusal(deployment: ModelDeployment) -> Refused | None:
    """Returns the refusal that the status tells of this very spec: it stands until a new verification has ended."""
    for condition in (deployment.status.conditions if deployment.status else None) or ():
        if (
            condition.type == ServingCondition.ARTIFACT_VERIFIED
            and condition.status == "False"
            and condition.observed_generation == deployment.metadata.generation
            and condition.reason in set(Reason)
        ):
            return Refused(Problem(reason=Reason(condition.reason), message=condition.message))
    return None


def report(outlook: Outlook) -> Report:
    """Tells how it stands."""
    replicas = outlook.replicas
    answering = replicas.answering if replicas else 0
    verified = _tell_verified(outlook.found)
    stop = _find_stop(outlook)
    is_stopped = replicas is not None and replicas.wanted == 0 and isinstance(outlook.found, Verified)
    is_ready = (
        stop is None
        and replicas is not None
        and replicas.all_answer
        and not is_stopped
        and isinstance(outlook.found, Verified)
        and (outlook.adapters is None or outlook.adapters.is_done)
    )
    state, message = _summarize(outlook, stop, is_ready=is_ready, is_stopped=is_stopped)
    in_progress = stop is None and not is_ready and not (is_stopped and replicas is not None and replicas.existing == 0)
    has_servers = replicas is not None and replicas.wanted > 0
    ready_reason: str = ServingReason.REPLICAS_ANSWER
    if not is_ready:
        ready_reason = stop.reason if stop else _progress_reason(outlook, is_stopped=is_stopped)
    findings = (
        verified,
        Finding(
            ServingCondition.AVAILABLE,
            _truth(answering > 0),
            ServingReason.REPLICAS_ANSWER
            if answering
            else ServingReason.STOPPED
            if is_stopped
            else ServingReason.NO_REPLICA_ANSWERS,
            f"{_count(answering)} to every name." if replicas else "There is no server yet.",
        ),
        Finding(
            ServingCondition.PROGRESSING,
            _truth(in_progress and has_servers),
            _progress_reason(outlook, is_stopped=is_stopped) if in_progress else ServingReason.AS_EXPECTED,
            message if in_progress and has_servers else "No replica is being started or replaced.",
        ),
        *_tell_adapters(outlook.adapters),
        *_tell_evaluated(outlook.evaluated),
        *_tell_promoted(outlook.trial),
        Finding(ServingCondition.READY, _truth(is_ready), ready_reason, message),
        Finding(
            ServingCondition.RECONCILING,
            _truth(in_progress),
            _progress_reason(outlook, is_stopped=is_stopped) if in_progress else ready_reason,
            message,
        ),
        Finding(
            ServingCondition.STALLED,
            _truth(stop is not None),
            stop.reason if stop else ServingReason.AS_EXPECTED,
            stop.message if stop else "Nobody has to do anything.",
        ),
    )
    return Report(findings, state, message)


def _tell_verified(found: Trouble | Verified | Refused | Unknown) -> Finding:
    kind = ServingCondition.ARTIFACT_VERIFIED
    match found:
        case Verified():
            return Finding(kind, "True", ServingReason.VERIFIED, "What is served is what its manifest says.")
        case Refused(problem):
            return Finding(kind, "False", problem.reason, problem.message)
        case Unknown():
            return Finding(kind, "Unknown", ServingReason.VERIFYING, "Reads the manifest and looks for its files.")
        case Trouble():
            return Finding(kind, "Unknown", ServingReason.NOT_VERIFIED, found.message)


def _tell_adapters(adapters: Adapters | None) -> list[Finding]:
    kind = ServingCondition.ADAPTERS_READY
    if adapters is None or not adapters.has_room:
        return []
    if adapters.refused is not None:
        return [Finding(kind, "False", adapters.refused.reason, adapters.refused.message)]
    if adapters.pending is not None:
        return [Finding(kind, "False", ServingReason.ADAPTERS_LOADING, adapters.pending)]
    count = len(adapters.statuses)
    message = f"Every replica answers to {count} adapter{'' if count == 1 else 's'}."
    return [Finding(kind, "True", ServingReason.ADAPTERS_ANSWER, message)]


def _tell_evaluated(evaluated: Evaluated | None) -> list[Finding]:
    kind = ServingCondition.EVALUATED
    if evaluated is None:
        return []
    if evaluated.trouble is not None:
        return [Finding(kind, "False", evaluated.trouble.reason, evaluated.trouble.message)]
    if evaluated.is_due or evaluated.status is None:
        return [Finding(kind, "False", ServingReason.EVALUATING, "A server is asked spec.evaluation once all answer.")]
    return [Finding(kind, "True", ServingReason.EVALUATED, tell_score(evaluated.status))]


def _tell_promoted(trial: Trial | None) -> list[Finding]:
    kind = ServingCondition.PROMOTED
    if trial is None or not trial.is_gated:
        return []
    if trial.status is None:
        return [Finding(kind, "True", ServingReason.AS_EXPECTED, "No version waits for a trial.")]
    return [Finding(kind, _PROMOTED[trial.status.outcome], trial.status.reason, trial.status.message)]


def _find_stop(outlook: Outlook) -> Trouble | None:
    """Returns what only somebody else can end."""
    found = outlook.found
    if isinstance(found, Trouble):
        return found if found.stalled else None
    if isinstance(found, Refused):
        return Trouble(found.problem.reason, found.problem.message)
    if outlook.trial is not None and outlook.trial.refused is not None:
        return outlook.trial.refused
    if outlook.trouble is not None:
        return outlook.trouble if outlook.trouble.stalled else None
    return (outlook.adapters.failed or outlook.adapters.refused) if outlook.adapters else None


def _summarize(outlook: Outlook, stop: Trouble | None, *, is_ready: bool, is_stopped: bool) -> tuple[State, str]:
    replicas = outlook.replicas
    answering = replicas.answering if replicas else 0
    still = " What was served before is served on." if answering else ""
    if stop is not None:
        return ("Degraded" if answering else "Failed"), stop.message + still
    if isinstance(outlook.found, Trouble):
        return "Waiting", outlook.found.message + still
    if outlook.trouble is not None:
        if replicas is not None and answering >= replicas.wanted > 0:
            return "Updating", outlook.trouble.message
        before: State = "Verifying" if isinstance(outlook.found, Unknown) else "Starting"
        return ("Degraded" if answering else before), outlook.trouble.message
    if isinstance(outlook.found, Unknown):
        return ("Updating" if answering else "Verifying"), "Verifies what is to be served." + still
    if is_stopped:
        return "Stopped", "No server is wanted: spec.replicas is 0, or spec.suspend is true."
    if outlook.trial is not None and outlook.trial.is_held and outlook.trial.status is not None:
        return ("Updating" if answering else "Starting"), outlook.trial.status.message
    if replicas is None:
        return "Starting", "Servers are being created."
    if is_ready:
        return "Ready", f"{_count(replicas.wanted)} to every name."
    if not answering:
        return "Starting", "Servers stage the weights and load them."
    if replicas.all_answer and outlook.adapters is not None and outlook.adapters.pending is not None:
        return "Updating", outlook.adapters.pending
    if replicas.all_answer and outlook.adapters is not None and not outlook.adapters.is_done:
        return "Updating", "Servers are being asked spec.probe."
    if not replicas.is_current:
        return "Updating", f"Replicas of the newest spec take over; {_count(answering)}."
    return "Degraded", f"{answering} of {replicas.wanted} replicas answer to every name."


def _progress_reason(outlook: Outlook, *, is_stopped: bool) -> str:
    found, replicas = outlook.found, outlook.replicas
    if isinstance(found, Trouble):
        return found.reason
    if isinstance(found, Unknown):
        return ServingReason.VERIFYING
    if is_stopped:
        return ServingReason.STOPPED
    if outlook.trouble is not None and outlook.trouble.reason == ConditionReason.UNSCHEDULABLE:
        return outlook.trouble.reason
    if outlook.trial is not None and outlook.trial.is_held and outlook.trial.status is not None:
        return outlook.trial.status.reason
    if replicas is None or not replicas.answering:
        return ServingReason.SERVER_STARTING
    if replicas.all_answer and outlook.adapters is not None:
        return ServingReason.PROBING if outlook.adapters.all_answer else ServingReason.ADAPTERS_LOADING
    return ServingReason.SOME_REPLICAS_ANSWER if replicas.is_current else ServingReason.ROLLING_OUT


def _count(answering: int) -> str:
    return "1 replica answers" if answering == 1 else f"{answering} replicas answer"


def _truth(holds: bool) -> Truth:
    return "True" if holds else "False"
