"""The record of an attempt in the status: what its pods tell while it goes on, and how it ended."""

from collections.abc import Sequence

from customizer_contract.result import TrainingFacts
from customizer_operator.api.customization_job_status import Attempt
from customizer_operator.api.reasons import AttemptOutcome
from customizer_operator.plan.attempts import Ending
from customizer_operator.plan.job_view import JobView
from customizer_operator.plan.pods import Pod

_LONGEST_MESSAGE = 2048


def observe_attempt(attempt: Attempt, pods: Sequence[Pod], view: JobView) -> Attempt:
    """Adds what the pods tell to what was recorded."""
    if attempt.outcome is not None:
        # Pods that were told to stop say at their very end how far they came.
        reached = max((facts.step for facts in _find_training_facts(pods)), default=0)
        return attempt.model_copy(update={"step": reached}) if reached > (attempt.step or 0) else attempt
    update: dict[str, object] = {}
    begins = [pod.started_at for pod in pods if pod.started_at is not None]
    if attempt.running_at is None and len(begins) >= view.replicas:
        update["running_at"] = max(begins)
    nodes = [pod.node for pod in sorted(pods, key=lambda pod: pod.rank) if pod.node is not None]
    # One that ran keeps the nodes it had: a pod that is made anew on another one tells of a loss.
    if len(nodes) == view.replicas and attempt.running_at is None:
        update["nodes"] = nodes
    if attempt.placed_at is None and len(nodes) == view.replicas:
        update["placed_at"] = max(pod.placed_at or pod.started_at or view.now for pod in pods)
    return attempt.model_copy(update=update)


def end_attempt(attempt: Attempt, ending: Ending, pods: Sequence[Pod], view: JobView) -> Attempt:
    """Returns the record of an attempt that has ended."""
    finished = [end.finished_at for pod in pods for end in pod.ends]
    training = _find_training_facts(pods)
    update: dict[str, object] = {
        "outcome": ending.outcome,
        "reason": ending.reason,
        "message": ending.message[:_LONGEST_MESSAGE] or None,
        "retryable": ending.retryable,
        "failed_node": ending.node,
        "ended_at": max(finished) if finished and ending.outcome is AttemptOutcome.SUCCEEDED else view.now,
    }
    if ending.silent is not None and (lines := view.find_log(*ending.silent)) is not None:
        update["last_lines"] = lines
        update["message"] = f"{ending.message} It said last: {lines.splitlines()[-1]}"[:_LONGEST_MESSAGE]
    if training:
        update["step"] = max(facts.step for facts in training)
        update["resumed_from_step"] = training[0].resumed_from_step
    return attempt.model_copy(update=update)


def _find_training_facts(pods: Sequence[Pod]) -> list[TrainingFacts]:
    return [end.result.training for pod in pods for end in pod.ends if end.result and end.result.training]


def find_warnings(pods: Sequence[Pod]) -> tuple[str, ...]:
    """Returns what pods warned of at their end."""
    results = (end.result for pod in pods for end in pod.ends)
    return tuple(warning for result in results if result is not None for warning in result.warnings)
