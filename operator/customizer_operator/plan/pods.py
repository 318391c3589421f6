"""Pods as decisions see them: who they are, how far they are, how they ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from customizer_contract.result import Result
from customizer_operator.api.base import ATTEMPT_LABEL, Object
from customizer_operator.objects.names import REPLICA_INDEX_LABEL

_OVERDUE = timedelta(seconds=60)
"""A pod that is still there this long after it had to be gone is on a node that is lost."""
_DISRUPTIONS = frozenset({"Evicted", "Preempting", "NodeLost", "Shutdown", "NodeShutdown", "Terminated"})


@dataclass(frozen=True, slots=True)
class End:
    """How a container ended."""

    container: str
    exit_code: int
    cause: str
    """Kubernetes' word for it: Completed, Error, OOMKilled, ..."""
    finished_at: datetime
    result: Result | None


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of ours."""

    name: str
    uid: str
    owner_uid: str | None
    attempt: int | None
    rank: int
    phase: str
    node: str | None
    ip: str | None
    created_at: datetime
    must_be_gone_at: datetime | None
    """Set when the pod is being deleted."""
    disruption: str | None
    """Why Kubernetes took the pod away, if it did."""
    started_at: datetime | None
    """When the main container began to run."""
    runs: bool
    """Whether the main container runs now."""
    ends: tuple[End, ...]
    """Init containers first; only those that have ended."""
    raw: Object
    placed_at: datetime | None = None
    """When it was given its node."""

    @property
    def failure(self) -> End | None:
        """Returns the container that ended with an error, if one did."""
        return next((end for end in self.ends if end.exit_code != 0), None)

    @property
    def is_over(self) -> bool:
        """Tells whether nothing of the pod runs any more."""
        return self.phase in ("Succeeded", "Failed")

    def is_live(self, now: datetime) -> bool:
        """Tells whether the pod runs, may yet run, or is still going; on a lost node it is gone after a while."""
        return not self.is_overdue(now) if self.must_be_gone_at is not None else not self.is_over

    def is_overdue(self, now: datetime) -> bool:
        """Tells whether the pod should have gone a while ago: nobody on its node stops it."""
        return self.must_be_gone_at is not None and now > self.must_be_gone_at + _OVERDUE


def parse_time(text: str | None) -> datetime | None:
    """Parses a time of the API."""
    return None if text is None else datetime.fromisoformat(text)


def parse_pod(item: Object, container: str) -> Pod:
    """Reads a pod; `container` names its main container."""
    metadata, status, spec = item["metadata"], item.get("status", {}), item.get("spec", {})
    labels = metadata.get("labels") or {}
    states = {entry["name"]: entry.get("state", {}) for entry in status.get("containerStatuses", ())}
    main: dict[str, Any] = states.get(container, {})
    running, terminated = main.get("running"), main.get("terminated")
    created = datetime.fromisoformat(metadata["creationTimestamp"])
    controllers = [owner["uid"] for owner in metadata.get("ownerReferences", ()) if owner.get("controller")]
    started = (running or terminated or {}).get("startedAt")
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        owner_uid=controllers[0] if controllers else None,
        attempt=_parse_number(labels.get(ATTEMPT_LABEL)),
        rank=_parse_number(labels.get(REPLICA_INDEX_LABEL)) or 0,
        phase=status.get("phase", "Pending"),
        node=spec.get("nodeName"),
        ip=status.get("podIP"),
        created_at=created,
        must_be_gone_at=parse_time(metadata.get("deletionTimestamp")),
        disruption=_find_disruption(status),
        # The clock of a node may be behind the apiserver's, which dates the pod.
        started_at=None if started is None else max(datetime.fromisoformat(started), created),
        runs=running is not None and status.get("phase") == "Running",
        ends=tuple(
            _parse_end(entry["name"], entry["state"]["terminated"], created)
            for entry in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
            if "terminated" in entry.get("state", {})
        ),
        raw=item,
        placed_at=_find_placement(status),
    )


def _parse_number(label: str | None) -> int | None:
    """Returns None for what is no number: anybody may label a pod."""
    return int(label) if label is not None and label.isdecimal() else None


def _parse_end(name: str, terminated: dict[str, Any], created: datetime) -> End:
    return End(
        container=name,
        exit_code=terminated["exitCode"],
        cause=terminated.get("reason", ""),
        # The kubelet leaves it out when it lost track of the container.
        finished_at=parse_time(terminated.get("finishedAt")) or created,
        result=parse_result(terminated.get("message", "")),
    )


def parse_result(message: str) -> Result | None:
    """Returns None for what is not a result: a container that was killed writes none."""
    try:
        return Result.model_validate_json(message, extra="ignore")
    except ValidationError:
        return None


def _find_placement(status: dict[str, Any]) -> datetime | None:
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "True":
            return parse_time(condition.get("lastTransitionTime"))
    return None


def _find_disruption(status: dict[str, Any]) -> str | None:
    for condition in status.get("conditions", ()):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return str(condition.get("reason") or "Disrupted")
    reason = status.get("reason")
    return reason if reason in _DISRUPTIONS else None
