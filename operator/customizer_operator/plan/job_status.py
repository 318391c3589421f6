"""The status of a CustomizationJob: its conditions and words, from what was decided and what hinders it."""

from collections.abc import Sequence

from customizer_contract.result import TrainingFacts
from customizer_operator.api.base import Object
from customizer_operator.api.customization_job_status import (
    Attempt,
    CustomizationJobStatus,
    JobProgress,
    JobReport,
)
from customizer_operator.api.reasons import AttemptOutcome, ConditionReason, ConditionType
from customizer_operator.plan.batching import plan_training
from customizer_operator.plan.conditions import Finding, Truth, date_conditions
from customizer_operator.plan.granted import find_placement
from customizer_operator.plan.hangs import UNHEARD
from customizer_operator.plan.job_view import JobView
from customizer_operator.plan.lifecycle import Decision, Stage
from customizer_operator.plan.losses import add_losses, report
from customizer_operator.plan.progress import finish_progress, parse_progress, show_progress
from customizer_operator.plan.waiting import Waiting

_WORDS = {
    Stage.PREFLIGHT_DUE: "Pending",
    Stage.PREFLIGHT: "Preflight",
    Stage.ATTEMPT_DUE: "Pending",
    Stage.PLACING: "Pending",
    Stage.STARTING: "Starting",
    Stage.RUNNING: "Training",
    Stage.ENDING: "Stopping",
    Stage.PAUSING: "Retrying",
    Stage.SUSPENDED: "Suspended",
    Stage.PLANNED: "Planned",
    Stage.COMPLETE: "Complete",
    Stage.FAILED: "Failed",
}
_MESSAGES = {
    Stage.PREFLIGHT_DUE: "Preflight is about to start.",
    Stage.PREFLIGHT: "Preflight reads data and model.",
    Stage.ATTEMPT_DUE: "The next attempt is about to start.",
    Stage.PLACING: "Pods are being created and placed.",
    Stage.STARTING: "Pods fetch model, data and checkpoint.",
    Stage.RUNNING: "All pods run.",
    Stage.ENDING: "The attempt has ended; its last pods are stopping.",
    Stage.SUSPENDED: "spec.suspend is true; set it to false to go on.",
    Stage.PLANNED: "spec.planOnly is true and status.plan stands; set it to false to train.",
    Stage.COMPLETE: "The job is complete; it starts no pods any more.",
    Stage.FAILED: "The job was given up; it starts no pods any more.",
}
_BEFORE_ATTEMPTS = (Stage.PREFLIGHT_DUE, Stage.PREFLIGHT, Stage.ATTEMPT_DUE)
_MOST_ATTEMPTS = 200
_MOST_WARNINGS = 50


def describe(view: JobView, decision: Decision, waiting: Waiting | None, answer: object) -> CustomizationJobStatus:
    """Returns the whole status. `answer` is what rank 0 said of its progress, None if nothing."""
    previous = view.status
    dataset = decision.dataset or previous.dataset
    model = decision.model or previous.model
    plan = plan_training(view.job.spec, dataset=dataset, model=model)
    progress = _find_progress(view, decision, answer, plan.steps_per_epoch if plan is not None else None)
    attempts = add_losses(_add_progress(decision.attempts, answer))
    message = _find_message(decision, waiting, progress)
    heard = parse_progress(answer) is not None
    known = [text for text in previous.warnings or () if not (heard and text == UNHEARD)]
    warnings = list(dict.fromkeys([*known, *decision.warnings]))
    artifact = decision.artifact or previous.artifact
    findings = find_conditions(view, decision, waiting, message)
    generation = view.job.metadata.generation
    return CustomizationJobStatus(
        observed_generation=generation,
        state=_find_state(view, decision, waiting),
        message=message,
        plan=plan,
        placement=find_placement(view, decision.attempts) or previous.placement,
        dataset=dataset,
        model=model,
        progress=progress,
        attempt=attempts[-1].number if attempts else None,
        attempts=_keep(attempts) or None,
        report=_report(view, decision, attempts, progress),
        artifact=artifact,
        warnings=warnings[:_MOST_WARNINGS] or None,
        conditions=date_conditions(previous.conditions or (), findings, generation=generation, now=view.now),
    )


def _report(
    view: JobView, decision: Decision, attempts: Sequence[Attempt], progress: JobProgress | None
) -> JobReport | None:
    outline = view.job.spec.outline
    if outline is None or not attempts or decision.stage not in (Stage.COMPLETE, Stage.FAILED):
        return None
    processes = outline.nodes * outline.processes
    gpus = processes if view.job.spec.compute.device == "gpu" else 0
    return report(attempts, progress=progress, gpus=gpus, processes=processes, now=view.now)


def confirm(status: Object, generation: int) -> Object:
    """Returns the status of a job that has ended, as JSON, for a newer generation of its spec.

    Nothing of it is parsed: an older operator keeps what a newer one has told.
    """
    conditions = [{**condition, "observedGeneration": generation} for condition in status.get("conditions", ())]
    return {**status, "observedGeneration": generation, "conditions": conditions}


def find_conditions(view: JobView, decision: Decision, waiting: Waiting | None, message: str) -> list[Finding]:
    """Returns every condition of the job."""
    stage = decision.stage
    over = stage in (Stage.COMPLETE, Stage.FAILED)
    stuck = waiting is not None and waiting.needs_help
    failure = decision.failure
    # For kstatus a job that reconciles is in progress, whatever else is told: one that needs help does not.
    reconciling = not over and not stuck and stage not in (Stage.SUSPENDED, Stage.PLANNED)
    why: str = waiting.reason if waiting is not None else ConditionReason.AS_EXPECTED
    if failure is not None:
        why = failure.reason
    return [
        Finding(ConditionType.ACCEPTED, "True", ConditionReason.SPEC_VALID, "The spec was understood."),
        _dataset_ready(view, decision, message),
        _admitted(decision.stage, waiting, message),
        _running(stage, message),
        _published(decision),
        Finding(
            ConditionType.COMPLETE,
            _truth(stage is Stage.COMPLETE),
            ConditionReason.ARTIFACT_PUBLISHED if stage is Stage.COMPLETE else ConditionReason.NOT_PUBLISHED,
            message if over else "The artifact is not published yet.",
        ),
        Finding(
            ConditionType.FAILED,
            _truth(stage is Stage.FAILED),
            failure.reason if failure is not None else ConditionReason.AS_EXPECTED,
            failure.message if failure is not None else "The job has not been given up.",
        ),
        _suspended(view, stage),
        Finding(ConditionType.RECONCILING, _truth(reconciling), why, message),
        Finding(
            ConditionType.STALLED,
            _truth(stage is Stage.FAILED or stuck),
            why,
            message if stage is Stage.FAILED or stuck else "Nobody has to do anything.",
        ),
    ]


def _truth(value: bool) -> Truth:
    return "True" if value else "False"


def _dataset_ready(view: JobView, decision: Decision, message: str) -> Finding:
    kind = ConditionType.DATASET_READY
    if (dataset := decision.dataset or view.status.dataset) is not None:
        text = f"{dataset.training.samples} samples to train on, {dataset.validation.samples} to validate on."
        return Finding(kind, "True", ConditionReason.PREFLIGHT_PASSED, text)
    if decision.failure is not None:
        return Finding(kind, "False", decision.failure.reason, decision.failure.message)
    running = decision.stage is Stage.PREFLIGHT
    reason = ConditionReason.PREFLIGHT_RUNNING if running else ConditionReason.PREFLIGHT_PENDING
    return Finding(kind, "Unknown", reason, message)


def _admitted(stage: Stage, waiting: Waiting | None, message: str) -> Finding:
    kind = ConditionType.ADMITTED
    match stage:
        case Stage.STARTING | Stage.RUNNING:
            return Finding(kind, "True", ConditionReason.PODS_PLACED, "Every pod has a node.")
        case Stage.PLACING if waiting is not None:
            return Finding(kind, "False", waiting.reason, message)
        case Stage.COMPLETE | Stage.FAILED:
            return Finding(kind, "False", ConditionReason.FINISHED, _MESSAGES[stage])
        case Stage.SUSPENDED:
            return Finding(kind, "False", ConditionReason.SUSPENDED, message)
        case Stage.PLANNED:
            return Finding(kind, "False", ConditionReason.PLAN_ONLY, message)
        case Stage.ENDING | Stage.PAUSING:
            return Finding(kind, "False", ConditionReason.BETWEEN_ATTEMPTS, message)
        case _:
            return Finding(kind, "False", ConditionReason.PODS_PENDING, message)


def _running(stage: Stage, message: str) -> Finding:
    kind = ConditionType.RUNNING
    match stage:
        case Stage.RUNNING:
            return Finding(kind, "True", ConditionReason.TRAINING, "All pods run.")
        case Stage.STARTING:
            return Finding(kind, "False", ConditionReason.PODS_STARTING, message)
        case Stage.COMPLETE | Stage.FAILED:
            return Finding(kind, "False", ConditionReason.FINISHED, _MESSAGES[stage])
        case Stage.SUSPENDED:
            return Finding(kind, "False", ConditionReason.SUSPENDED, message)
        case Stage.PLANNED:
            return Finding(kind, "False", ConditionReason.PLAN_ONLY, message)
        case Stage.ENDING:
            return Finding(kind, "False", ConditionReason.ATTEMPT_ENDING, message)
        case Stage.PAUSING:
            return Finding(kind, "False", ConditionReason.BETWEEN_ATTEMPTS, message)
        case _:
            return Finding(kind, "False", ConditionReason.PODS_PENDING, message)


def _published(decision: Decision) -> Finding:
    if decision.artifact is None:
        return Finding(ConditionType.PUBLISHED, "False", ConditionReason.NOT_PUBLISHED, "No manifest is written yet.")
    text = f"{decision.artifact.type} at {decision.artifact.uri}, manifest {decision.artifact.manifest_digest}."
    return Finding(ConditionType.PUBLISHED, "True", ConditionReason.ARTIFACT_PUBLISHED, text)


def _suspended(view: JobView, stage: Stage) -> Finding:
    kind = ConditionType.SUSPENDED
    if stage is Stage.SUSPENDED:
        return Finding(kind, "True", ConditionReason.SUSPENDED, _MESSAGES[Stage.SUSPENDED])
    if view.job.spec.suspend and stage not in (Stage.COMPLETE, Stage.FAILED):
        text = "Preflight ends first." if stage in _BEFORE_ATTEMPTS else "Pods save a checkpoint and stop."
        return Finding(kind, "False", ConditionReason.SUSPENDING, text)
    text = "The job has ended before." if view.job.spec.suspend else "spec.suspend is false."
    return Finding(kind, "False", ConditionReason.NOT_SUSPENDED, text)


def _find_state(view: JobView, decision: Decision, waiting: Waiting | None) -> str:
    if waiting is not None:
        queued = waiting.reason is ConditionReason.QUEUED
        return "Stalled" if waiting.needs_help else "Queued" if queued else "Waiting"
    if decision.stage is Stage.ENDING and view.job.spec.suspend:
        return "Suspending"
    return _WORDS[decision.stage]


def _find_message(decision: Decision, waiting: Waiting | None, progress: JobProgress | None) -> str:
    if waiting is not None:
        return waiting.message
    if decision.failure is not None:
        return f"{decision.failure.reason}: {decision.failure.message}"
    last = decision.attempts[-1] if decision.attempts else None
    if decision.stage is Stage.COMPLETE and decision.artifact is not None:
        return f"Published {decision.artifact.type} at {decision.artifact.uri}."
    if decision.stage is Stage.PAUSING and last is not None:
        return f"Attempt {last.number} ended with {last.reason}; the next one starts after a pause. {last.message}"
    if decision.stage is Stage.ENDING and last is not None and last.reason is not None:
        return f"Attempt {last.number} ended with {last.reason}; its last pods are stopping."
    if decision.stage is Stage.RUNNING and last is not None and progress is not None:
        return f"Attempt {last.number}: {progress.phase.lower()}."
    return _MESSAGES[decision.stage]


def _find_progress(
    view: JobView, decision: Decision, answer: object, steps_per_epoch: int | None
) -> JobProgress | None:
    told = parse_progress(answer)
    last = show_progress(told) if told is not None else view.status.progress
    facts = _find_training_facts(view, decision)
    return last if facts is None else finish_progress(last, facts, steps_per_epoch=steps_per_epoch, now=view.now)


def _find_training_facts(view: JobView, decision: Decision) -> TrainingFacts | None:
    """Returns what rank 0 said at the end of an attempt that ended just now."""
    for attempt in decision.ended_now:
        for pod in view.find_pods(attempt.number):
            for end in pod.ends:
                if pod.rank == 0 and end.result is not None and end.result.training is not None:
                    return end.result.training
    return None


def _add_progress(attempts: Sequence[Attempt], answer: object) -> list[Attempt]:
    """Notes in the running attempt how far it is."""
    told = parse_progress(answer)
    if told is None or not attempts or attempts[-1].outcome is not None or told.attempt != attempts[-1].number:
        return list(attempts)
    update = {"step": told.step, "resumed_from_step": told.resumed_from_step}
    return [*attempts[:-1], attempts[-1].model_copy(update=update)]


def _keep(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Returns the newest attempts, and all that count against maxAttempts."""
    surplus = len(attempts) - _MOST_ATTEMPTS
    kept = []
    for attempt in attempts:
        if surplus > 0 and attempt.outcome is not AttemptOutcome.FAILED:
            surplus -= 1
        else:
            kept.append(attempt)
    return kept
