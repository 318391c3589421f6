"""The pods of a ModelDeployment: which there are, and what keeps them from doing their work."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from customizer_contract.catalogue import CATALOGUE
from customizer_contract.errors import Reason
from customizer_contract.result import Problem
from customizer_operator.api.base import Object
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.objects.names import COMPONENT_LABEL
from customizer_operator.objects.nim_service import SERVER_SUFFIX
from customizer_operator.objects.serving_canary import canary_name
from customizer_operator.objects.serving_pods import CANARY, SERVER, STAGE, VERIFY
from customizer_operator.objects.serving_sidecar import SIDECAR
from customizer_operator.objects.verification import verify_name
from customizer_operator.plan.plan import JOB, POD, EventsOf, Observed
from customizer_operator.plan.pods import Pod, parse_pod, parse_result, parse_time
from customizer_operator.plan.serving_crashes import explain_crash
from customizer_operator.plan.serving_trouble import Trouble
from customizer_operator.plan.waiting import explain, explain_refusal, is_late

_REVISION_LABEL = "pod-template-hash"
_CRASHES = 2
"""Restarts after which a server is not expected to come up by itself."""
_FAILURES = {
    STAGE: "The weights cannot be staged.",
    VERIFY: "Verifying what is to be served fails.",
    SIDECAR: "The sidecar that brings adapters has ended.",
}


def find_pods(observed: Observed, component: str) -> list[Pod]:
    """Returns the pods of a component that are there to stay."""
    container = VERIFY if component == VERIFY else SERVER
    pods = [
        parse_pod(item, container)
        for item in observed.of(POD)
        if (item["metadata"].get("labels") or {}).get(COMPONENT_LABEL) == component
    ]
    return [pod for pod in pods if pod.must_be_gone_at is None and _is_ours(observed, pod, component)]


def _is_ours(observed: Observed, pod: Pod, component: str) -> bool:
    """Tells whether the controller of a pod is of our making: a label alone may be copied by anybody."""
    owners: list[Object] = pod.raw["metadata"].get("ownerReferences") or []
    controller = next((owner for owner in owners if owner.get("controller")), None)
    if controller is None:
        return False
    if component != VERIFY:
        name = observed.subject["metadata"]["name"]
        # A Deployment names its ReplicaSets so; they are not watched.
        replica_set = f"{canary_name(name) if component == CANARY else name}-{_revision(pod)}"
        return (controller.get("kind"), controller.get("name")) == ("ReplicaSet", replica_set)
    job = _verify_job(observed)
    return job is not None and controller["uid"] == job["metadata"]["uid"]


def is_ready(pod: Pod) -> bool:
    """Tells whether the kubelet found the pod's server ready."""
    return _readiness(pod).get("status") == "True"


def ready_since(pod: Pod) -> datetime | None:
    """Returns since when a pod is as ready as it is, if that is told."""
    return parse_time(_readiness(pod).get("lastTransitionTime"))


def _readiness(pod: Pod) -> Object:
    """Returns the condition Ready; an empty one while there is none."""
    conditions: list[Object] = pod.raw.get("status", {}).get("conditions") or []
    return next((entry for entry in conditions if entry["type"] == "Ready"), {})


def ask_about_pods(observed: Observed, component: str) -> list[EventsOf]:
    """Asks for the events of what should have started by now, and of the Job that should have made it."""
    namespace = observed.subject["metadata"]["namespace"]
    pods = find_pods(observed, component)
    questions = [
        EventsOf(namespace, pod.uid) for pod in pods if not is_ready(pod) and is_late(pod.created_at, observed.now)
    ]
    job = _verify_job(observed)
    if component == VERIFY and job is not None and not pods:
        questions.append(EventsOf(namespace, job["metadata"]["uid"]))
    return questions


def find_trouble(observed: Observed, component: str, server: Object | None) -> Trouble | None:
    """Finds what keeps the pods of a component back; `server` is the Deployment, if it is about servers."""
    namespace = observed.subject["metadata"]["namespace"]
    pods = [pod for pod in _newest(find_pods(observed, component)) if not is_ready(pod)]
    for pod in pods:
        if (crash := _find_crash(pod)) is not None:
            return crash
    if server is not None:
        owner, events = f"Deployment {server['metadata']['name']}", _creation_failures(server)
        expected = len(pods) + 1 if events else len(pods)
    else:
        job = _verify_job(observed)
        uid = job["metadata"]["uid"] if job else ""
        owner, events, expected = "the verify Job", list(_events(observed, EventsOf(namespace, uid))), 1
    waiting = explain(
        pods,
        expected=expected,
        owner=owner,
        owner_events=events,
        pod_events={pod.uid: _events(observed, EventsOf(namespace, pod.uid)) for pod in pods},
    )
    if waiting is None:
        return None
    room = _tell_room(server) if server is not None and waiting.reason == ConditionReason.UNSCHEDULABLE else ""
    return Trouble(waiting.reason, waiting.message + room, stalled=waiting.needs_help)


def _tell_room(server: Object) -> str:
    """Says what to do where there is no room for a server."""
    if server["metadata"]["labels"].get(COMPONENT_LABEL) == CANARY:
        return " A canary stands beside the servers: make room for it, or set rollout.strategy to RollingUpdate."
    spec, status = server["spec"], server.get("status") or {}
    surge = spec["strategy"].get("rollingUpdate", {}).get("maxSurge", 0)
    if surge and status.get("replicas", 0) > spec.get("replicas", 0):
        return " Make room for one more, or set updateStrategy to {maxSurge: 0, maxUnavailable: 1}."
    return " It goes on when there is room: add nodes, or lower replicas, tensorParallelSize or resources."


def find_refusal(observed: Observed) -> Trouble | None:
    """Tells what the apiserver refuses."""
    waiting = explain_refusal(observed.refusal)
    return None if waiting is None else Trouble(waiting.reason, waiting.message)


def _newest(pods: Sequence[Pod]) -> list[Pod]:
    """Returns the pods of the newest revision: what ails the others goes away with them."""
    if not pods:
        return []
    revision = _revision(max(pods, key=lambda pod: pod.created_at))
    return [pod for pod in pods if _revision(pod) == revision]


def _revision(pod: Pod) -> str | None:
    labels: dict[str, str] = pod.raw["metadata"].get("labels") or {}
    return labels.get(_REVISION_LABEL)


def _find_crash(pod: Pod) -> Trouble | None:
    """Finds a container that ended with an error, now or before its last restart."""
    status = pod.raw.get("status", {})
    for entry in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        terminated = _last_end(entry)
        if terminated is None or terminated.get("exitCode") == 0:
            continue
        if entry["name"] in (STAGE, VERIFY, SIDECAR):
            return _tell_problem(entry["name"], terminated)
        if entry["name"] == SERVER or entry["name"].endswith(SERVER_SUFFIX):
            return _tell_crash(terminated, entry.get("restartCount", 0))
    return None


def _last_end(entry: dict[str, Any]) -> dict[str, Any] | None:
    state = entry.get("state") or {}
    if "terminated" in state:
        return dict(state["terminated"])
    last = (entry.get("lastState") or {}).get("terminated")
    return dict(last) if last is not None else None


def _tell_problem(container: str, terminated: dict[str, Any]) -> Trouble:
    result = parse_result(terminated.get("message", ""))
    problem = result.error if result else None
    if problem is None:
        problem = Problem(
            reason=Reason.CRASHED,
            message=f"The container ended with exit code {terminated.get('exitCode')} "
            f"({terminated.get('reason', 'Error')}); its log tells more.",
        )
    what = _FAILURES[container]
    return Trouble(problem.reason, f"{what} {problem.message}", stalled=not CATALOGUE[problem.reason].retryable)


def _tell_crash(terminated: dict[str, Any], restarts: int) -> Trouble:
    message = str(terminated.get("message", ""))
    crash = explain_crash(terminated.get("exitCode"), terminated.get("reason", ""), message, restarts)
    is_known = crash.reason != ServingReason.SERVER_CRASHING
    return Trouble(crash.reason, crash.message, stalled=is_known or restarts >= _CRASHES)


def _creation_failures(server: Object) -> list[Object]:
    """Returns as events what a Deployment tells of pods that it may not create."""
    conditions: list[Object] = server.get("status", {}).get("conditions") or []
    return [
        {"reason": "FailedCreate", "message": condition.get("message", "")}
        for condition in conditions
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True"
    ]


def _events(observed: Observed, question: EventsOf) -> Sequence[Object]:
    answer = observed.answers.get(question)
    return answer if isinstance(answer, list) else ()


def _verify_job(observed: Observed) -> Object | None:
    return observed.named(JOB, verify_name(observed.subject["metadata"]["name"]))
