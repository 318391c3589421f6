"""Whatever holds a job back or ends it: `kubectl describe` says what to do, in the status and in a condition."""

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from customizer_contract.errors import Reason
from customizer_contract.progress import Progress
from customizer_operator.api.base import Object
from customizer_operator.api.reasons import ConditionReason as Why
from customizer_operator.plan.plan import CONFIG_MAP, LOCAL_QUEUE, POD, PYTORCH_JOB
from tests.support import samples
from tests.unit.operator.simulator import World

ATTEMPT = (PYTORCH_JOB, "tickets-a1")
CALM = {
    Why.AS_EXPECTED, Why.SPEC_VALID, Why.PREFLIGHT_PENDING, Why.PREFLIGHT_RUNNING, Why.PREFLIGHT_PASSED,
    Why.PODS_PENDING, Why.PODS_PLACED, Why.PODS_STARTING, Why.TRAINING, Why.ATTEMPT_ENDING, Why.BETWEEN_ATTEMPTS,
    Why.FINISHED, Why.NOT_PUBLISHED, Why.ARTIFACT_PUBLISHED, Why.SUSPENDED, Why.SUSPENDING, Why.NOT_SUSPENDED,
    Why.PLAN_ONLY,
}  # fmt: skip
"""Reasons that are no trouble."""


def new(**spec: Any) -> World:
    world = World(samples.job("tickets", **spec))
    world.settle()
    return world


def placing(**spec: Any) -> World:
    """The first PyTorchJob is there, and taken notice of."""
    world = new(**spec)
    world.pass_preflight(samples.passed())
    world.settle()
    world.set_conditions(ATTEMPT, "Created", *(["Suspended"] if "scheduling" in spec else []))
    return world


def with_pod(**status: Any) -> World:
    """One of the pods does not start, and says so."""
    world = placing()
    name = world.make_workers(1)[0]
    pod = copy.deepcopy(world.objects[POD, name])
    world.put(POD, {**pod, "status": {"phase": "Pending", **status}})
    return world


def waiting(reason: str, message: str) -> World:
    entry = {"name": "pytorch", "image": "i", "state": {"waiting": {"reason": reason, "message": message}}}
    return with_pod(containerStatuses=[entry])


def unplaced(message: str) -> World:
    return with_pod(conditions=[{"type": "PodScheduled", "status": "False", "message": message}])


def unmounted(message: str) -> World:
    world = placing()
    for name in world.make_workers(1):
        uid = world.objects[POD, name]["metadata"]["uid"]
        world.kubernetes_events[uid] = [{"reason": "FailedMount", "message": message}]
    return world


def not_created(message: str) -> World:
    world = placing()
    uid = world.objects[ATTEMPT]["metadata"]["uid"]
    world.kubernetes_events[uid] = [{"reason": "FailedCreatePod", "message": message}]
    return world


def queued(*conditions: Object, workloads: bool = True, queue: bool = True) -> World:
    world = placing(scheduling={"queue": "team-a"})
    world.workloads = [{"metadata": {"name": "w"}, "status": {"conditions": list(conditions)}}] if workloads else []
    if queue:
        world.put(LOCAL_QUEUE, {"metadata": {"name": "team-a"}})
    return world


def running(**spec: Any) -> World:
    world = placing(**spec)
    world.run_pods(*world.make_workers(1))
    world.settle()
    return world


def failed(result: str, **spec: Any) -> World:
    world = running(**spec)
    for name in ("tickets-a1-worker-0", "tickets-a1-worker-1"):
        world.end_pod(name, 1, result)
    return world


def out_of_date() -> World:
    world = new()
    world.set_spec(dreams=True)
    return world


def refused() -> World:
    world = new()
    world.pass_preflight(samples.passed())
    world.refusal = "No training on Sundays"
    return world


def without_crd() -> World:
    world = new()
    world.served.clear()
    world.pass_preflight(samples.passed())
    return world


def taken() -> World:
    world = World(samples.job("tickets"))
    world.put(CONFIG_MAP, {"metadata": {"name": "tickets"}})
    return world


def hung() -> World:
    world = running(failurePolicy={"maxAttempts": 1})
    progress = Progress(
        phase="Training", attempt=1, step=3, total_steps=10, epoch=0.1, idle_seconds=4000, updated_at=world.now
    )
    world.progress = progress.model_dump(mode="json", by_alias=True)
    return world


def given_up() -> World:
    world = placing(failurePolicy={"maxAttempts": 1})
    world.set_conditions(ATTEMPT, "Failed", message="it is not valid")
    return world


PENDING = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "insufficient quota"}
TROUBLES: list[tuple[str, Callable[[], World], str]] = [
    (Why.INVALID_SPEC, out_of_date, "Install CRDs and operator of the same release"),
    (Why.MAX_ATTEMPTS_REACHED, lambda: failed(samples.failed(Reason.CRASHED), failurePolicy={"maxAttempts": 1}), ""),
    (Why.MAX_ATTEMPTS_REACHED, hung, "Look at the network between the nodes"),
    (Why.MAX_ATTEMPTS_REACHED, given_up, "Read its events and training-operator's log"),
    (Why.MAX_ATTEMPTS_REACHED, lambda: failed("", failurePolicy={"maxAttempts": 1}), "Read the pod's log"),
    (Why.DEADLINE_EXCEEDED, lambda: running(activeDeadlineSeconds=1), "with a longer deadline"),
    (Why.QUEUED, lambda: queued(PENDING), "or have the quota raised"),
    (Why.QUEUE_MISSING, lambda: queued(PENDING, queue=False), "create it, or correct spec.scheduling.queue"),
    (Why.QUEUE_CLOSED, lambda: queued({**PENDING, "reason": "Inadmissible"}), "Have the queue corrected"),
    (Why.QUEUE_INTEGRATION_OFF, lambda: queued(workloads=False), "add kubeflow.org/pytorchjob to integrations"),
    (Why.UNSCHEDULABLE, lambda: unplaced("0/2 nodes are available."), "or correct nodeSelector"),
    (Why.SECRET_MISSING, lambda: waiting("CreateContainerConfigError", 'secret "s3" not found'), "create it"),
    (Why.CONFIG_MAP_MISSING, lambda: unmounted('configmap "tickets" not found'), "the operator makes it anew"),
    (Why.VOLUME_CLAIM_MISSING, lambda: unplaced('persistentvolumeclaim "data" not found'), "create it"),
    (Why.VOLUME_UNAVAILABLE, lambda: unmounted("AttachVolume.Attach failed"), "Have the claim"),
    (Why.IMAGE_UNAVAILABLE, lambda: waiting("ErrImagePull", "no such image"), "Correct the image"),
    (Why.CONTAINER_REFUSED, lambda: waiting("CreateContainerError", "no such device"), "Correct what it names"),
    (Why.POD_REFUSED, lambda: not_created("a webhook denied the request"), "have the quota or policy changed"),
    (Why.QUOTA_EXCEEDED, lambda: not_created("exceeded quota: gpus"), "have the ResourceQuota raised"),
    (Why.POD_SECURITY_REFUSED, lambda: not_created("violates PodSecurity x"), "look for a webhook"),
    (Why.SERVICE_ACCOUNT_MISSING, lambda: not_created('serviceaccount "a" not found'), "create it, or correct"),
    (Why.REFUSED, refused, "Correct the spec, or have the quota or policy changed"),
    (Why.TRAINING_OPERATOR_MISSING, without_crd, "install Kubeflow's training-operator"),
    (Why.NAME_TAKEN, taken, "delete it, or name the job otherwise"),
]


@pytest.mark.parametrize(
    ("reason", "provoke", "remedy"), TROUBLES, ids=[f"{number}-{row[0]}" for number, row in enumerate(TROUBLES)]
)
def test_what_holds_a_job_back_or_ends_it_is_told_with_what_to_do(
    reason: str, provoke: Callable[[], World], remedy: str
) -> None:
    world = provoke()
    world.now += timedelta(seconds=35)
    world.run(20)
    assert remedy in world.status["message"]
    told = [entry for entry in world.status["conditions"] if entry["reason"] == reason and remedy in entry["message"]]
    assert told


def test_no_trouble_is_left_out() -> None:
    assert {reason for reason, _, _ in TROUBLES} == set(Why) - CALM
