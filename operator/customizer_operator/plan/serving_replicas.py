"""The replicas of a ModelDeployment: which of them answer to every name, and what ails the others."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from customizer_operator.api.base import Object
from customizer_operator.api.model_runtime import PORT
from customizer_operator.objects.serving import MIN_READY_SECONDS, find_digest
from customizer_operator.objects.serving_sidecar import asks_for_key
from customizer_operator.plan.plan import HttpGet, Observed
from customizer_operator.plan.pods import Pod
from customizer_operator.plan.serving_pods import is_ready, ready_since
from customizer_operator.plan.serving_reports import read_report

_POLL_SECONDS = 2.0
_UNREACHED = timedelta(seconds=MIN_READY_SECONDS + 1)
"""How long nodes may still know nothing of a server that became ready; the kubelet tells whole seconds."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """The servers as they are."""

    wanted: int
    existing: int
    answering: int
    """Replicas, old ones included, that list every model and are reached through the Service."""
    is_current: bool
    """Whether all of them are of the newest spec and none is missing or left over."""
    unlisted: tuple[str, ...] = ()
    """Names that a server, though it answers, does not list."""

    @property
    def all_answer(self) -> bool:
        """Whether every replica is of the newest spec and lists every model."""
        return self.is_current and self.answering >= self.wanted


def ask_for_models(pods: Sequence[Pod]) -> list[HttpGet]:
    """Asks every server that listens what it serves; of one that asks for a key, its sidecar tells."""
    return [question for pod in pods if (question := _question(pod)) is not None]


def count_replicas(
    observed: Observed,
    deployment: Object,
    pods: Sequence[Pod],
    names: Collection[str],
    digest: str | None,
    *,
    is_newest: bool,
) -> Replicas:
    """Counts the replicas of a Deployment. `names` must be listed; `digest` is that of the newest spec for it.

    `digest` None: it stays as it is. `is_newest` False: it stays as it is for now, though something else is wanted.
    """
    spec, status = deployment["spec"], deployment.get("status") or {}
    wanted = spec.get("replicas", 1)
    existing = status.get("replicas", 0)
    answering = 0
    unlisted: set[str] = set()
    for pod in pods:
        listed = find_listed(observed, pod)
        if listed is None:
            continue
        missing = set(names) - listed
        unlisted |= missing
        answering += not missing and _is_reached(observed, pod)
    return Replicas(
        wanted=wanted,
        existing=existing,
        answering=min(answering, existing) if existing else 0,
        is_current=(is_newest and (digest is None or find_digest(deployment) == digest) and is_steady(deployment)),
        unlisted=tuple(sorted(unlisted)),
    )


def _is_reached(observed: Observed, pod: Pod) -> bool:
    """Tells whether the Service's address leads to a ready pod: it takes controllers and nodes a moment."""
    since = ready_since(pod)
    # A node whose clock is ahead must not be waited for until its time has come.
    return since is None or abs(observed.now - since) >= _UNREACHED


def is_steady(deployment: Object) -> bool:
    """Tells whether no replica of a Deployment is missing, left over, or being replaced."""
    spec, status = deployment["spec"], deployment.get("status") or {}
    has_noticed = bool(status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1))
    counts = {status.get("updatedReplicas", 0), status.get("replicas", 0), spec.get("replicas", 1)}
    return has_noticed and len(counts) == 1


def find_listed(observed: Observed, pod: Pod) -> set[str] | None:
    """Returns the names that a server lists; None while it does not answer."""
    if asks_for_key(pod.raw):
        report = read_report(observed, pod) if is_ready(pod) else None
        return None if report is None or report.models is None else set(report.models)
    question = _question(pod)
    return _names(observed.answers.get(question)) if question else None


def _question(pod: Pod) -> HttpGet | None:
    """Returns what to ask a pod, or None while its server cannot answer: it has no address or still loads."""
    if not pod.ip or not is_ready(pod) or asks_for_key(pod.raw):
        return None
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return HttpGet(f"http://{host}:{PORT}/v1/models", max_age_seconds=_POLL_SECONDS)


def _names(answer: Any) -> set[str] | None:
    """Reads the names out of an answer of `/v1/models`; None if it is not one."""
    entries = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        return None
    return {str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry}
