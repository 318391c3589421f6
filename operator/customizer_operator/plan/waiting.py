"""Why pods do not run: what the object that knows says, in one sentence with a remedy."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from customizer_operator.api.base import Object
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.api.remedies import JOB_REMEDIES
from customizer_operator.plan.pods import Pod

NOTICE_AFTER = timedelta(seconds=20)
"""A pod that has not started by then is asked why."""
REACT_WITHIN = timedelta(seconds=30)
"""training-operator is missed when it has taken no notice of a PyTorchJob by then."""

_IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_REFUSED_REASONS = frozenset({"CreateContainerError", "RunContainerError", "CreateContainerConfigError"})
_MISSING_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_MISSING_SECRET = re.compile(r'secret "([^"]+)" not found', re.IGNORECASE)
_MISSING_KEY = re.compile(r"couldn't find key (\S+) in Secret \S+?/(\S+)")
_MISSING_CONFIG_MAP = re.compile(r'configmap "([^"]+)" not found', re.IGNORECASE)
_MISSING_ACCOUNT = re.compile(r'serviceaccount "([^"]+)" not found', re.IGNORECASE)
_CREATION_FAILURES = frozenset({"FailedCreate", "FailedCreatePod"})
_QUOTA = "exceeded quota: "
_POD_SECURITY = "violates PodSecurity "
_MOUNT_FAILURES = frozenset({"FailedMount", "FailedAttachVolume"})


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why something waits."""

    reason: ConditionReason
    message: str
    needs_help: bool
    """Whether it waits for a person; else it goes on by itself when the cluster has room."""


def explain(
    pods: Sequence[Pod],
    *,
    expected: int,
    owner: str,
    owner_events: Sequence[Object],
    pod_events: Mapping[str, Sequence[Object]],
) -> Waiting | None:
    """Returns why pods do not run, None when nothing is known to hinder them. What needs a person comes first."""
    findings = [finding for pod in pods if (finding := _explain_pod(pod, pod_events.get(pod.uid, ()))) is not None]
    if len(pods) < expected and (refusal := _explain_refused_pods(owner, owner_events)) is not None:
        findings.append(refusal)
    for finding in findings:
        if finding.needs_help:
            return finding
    unplaced = [finding for finding in findings if finding.reason is ConditionReason.UNSCHEDULABLE]
    if unplaced:
        message = (
            f"{len(unplaced)} of {expected} pods have no node.{_tell_missing(pods)} {unplaced[0].message.rstrip('.')}."
            f" {JOB_REMEDIES[ConditionReason.UNSCHEDULABLE]}"
        )
        return Waiting(ConditionReason.UNSCHEDULABLE, message, needs_help=False)
    return findings[0] if findings else None


def _explain_pod(pod: Pod, events: Sequence[Object]) -> Waiting | None:
    if pod.is_over or pod.runs or pod.must_be_gone_at is not None:
        return None
    status = pod.raw.get("status", {})
    for condition in status.get("conditions", ()):
        gated = condition.get("reason") == "SchedulingGated"  # by the queue that has admitted it, for a moment
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and not gated:
            return _explain_placement(condition.get("message", ""), pod)
    for entry in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        waiting = entry.get("state", {}).get("waiting")
        if waiting is not None and (finding := _explain_container(pod, entry, waiting)) is not None:
            return finding
    mounts = [event for event in events if event.get("reason") in _MOUNT_FAILURES]
    return _explain_mount(pod, str(mounts[-1].get("message", ""))) if mounts and not pod.ends else None


def _explain_placement(message: str, pod: Pod) -> Waiting:
    if (claim := _MISSING_CLAIM.search(message)) is not None:
        return Waiting(
            ConditionReason.VOLUME_CLAIM_MISSING,
            f"PersistentVolumeClaim {claim[1]} does not exist: create it, or correct its name in the spec.",
            needs_help=True,
        )
    return Waiting(ConditionReason.UNSCHEDULABLE, f"The scheduler says of {pod.name}: {message}", needs_help=False)


def _tell_missing(pods: Sequence[Pod]) -> str:
    """Tells how many devices are missing, and where they would have to be."""
    waiting = [pod for pod in pods if pod.node is None and not pod.is_over]
    missing: dict[str, int] = {}
    for pod in waiting:
        for name, number in _find_devices(pod).items():
            missing[name] = missing.get(name, 0) + int(number)
    selector = waiting[0].raw.get("spec", {}).get("nodeSelector") or {} if waiting else {}
    where = f" on nodes with {', '.join(f'{key}={value}' for key, value in sorted(selector.items()))}"
    return "".join(
        f" {number} {name} are missing{where if selector else ''}, {number // len(waiting)} for each pod."
        for name, number in sorted(missing.items())
    )


def _find_devices(pod: Pod) -> dict[str, str]:
    containers = pod.raw.get("spec", {}).get("containers", ())
    limits: dict[str, str] = {}
    for container in containers:
        limits |= (container.get("resources") or {}).get("limits") or {}
    return {name: number for name, number in limits.items() if "/" in name}


def _explain_container(pod: Pod, entry: dict[str, Any], waiting: dict[str, Any]) -> Waiting | None:
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE_REASONS:
        return Waiting(
            ConditionReason.IMAGE_UNAVAILABLE,
            f"Image {entry.get('image', '')} of pod {pod.name} cannot be pulled: {message or reason}."
            f" {JOB_REMEDIES[ConditionReason.IMAGE_UNAVAILABLE]}",
            needs_help=True,
        )
    if reason not in _REFUSED_REASONS:
        return None
    if (missing := _explain_missing(message)) is not None:
        return missing
    return Waiting(
        ConditionReason.CONTAINER_REFUSED,
        f"Container {entry['name']} of pod {pod.name} cannot start: {(message or reason).rstrip('.')}."
        f" {JOB_REMEDIES[ConditionReason.CONTAINER_REFUSED]}",
        needs_help=True,
    )


def _explain_missing(message: str) -> Waiting | None:
    if (key := _MISSING_KEY.search(message)) is not None:
        return Waiting(
            ConditionReason.SECRET_MISSING,
            f"Secret {key[2]} has no key {key[1]}: add the key, or correct the reference in the spec.",
            needs_help=True,
        )
    if (secret := _MISSING_SECRET.search(message)) is not None:
        return Waiting(
            ConditionReason.SECRET_MISSING,
            f"Secret {secret[1]} does not exist: create it, or correct its name in the spec.",
            needs_help=True,
        )
    if (config_map := _MISSING_CONFIG_MAP.search(message)) is not None:
        return Waiting(
            ConditionReason.CONFIG_MAP_MISSING,
            f"ConfigMap {config_map[1]} was deleted; the operator makes it anew.",
            needs_help=False,
        )
    return None


def _explain_mount(pod: Pod, message: str) -> Waiting:
    missing = _explain_missing(message)
    return missing or Waiting(
        ConditionReason.VOLUME_UNAVAILABLE,
        f"A volume of pod {pod.name} cannot be mounted: {message.rstrip('.')}."
        f" {JOB_REMEDIES[ConditionReason.VOLUME_UNAVAILABLE]}",
        needs_help=True,
    )


def _explain_refused_pods(owner: str, events: Sequence[Object]) -> Waiting | None:
    failures = [event for event in events if event.get("reason") in _CREATION_FAILURES]
    if not failures:
        return None
    message = str(failures[-1].get("message", ""))
    if (account := _MISSING_ACCOUNT.search(message)) is not None:
        return Waiting(
            ConditionReason.SERVICE_ACCOUNT_MISSING,
            f"ServiceAccount {account[1]} does not exist: create it, or correct objectStorage.serviceAccountName.",
            needs_help=True,
        )
    if _QUOTA in message:
        return Waiting(
            ConditionReason.QUOTA_EXCEEDED,
            f"The namespace has no quota left for the pods of {owner}: {message.rstrip('.')}."
            f" {JOB_REMEDIES[ConditionReason.QUOTA_EXCEEDED]}",
            needs_help=False,
        )
    if _POD_SECURITY in message:
        return Waiting(
            ConditionReason.POD_SECURITY_REFUSED,
            f"The namespace's pod security refuses the pods of {owner}: {message.rstrip('.')}."
            f" {JOB_REMEDIES[ConditionReason.POD_SECURITY_REFUSED]}",
            needs_help=True,
        )
    return Waiting(
        ConditionReason.POD_REFUSED,
        f"The cluster refuses the pods of {owner}: {message.rstrip('.')}. {JOB_REMEDIES[ConditionReason.POD_REFUSED]}",
        needs_help=True,
    )


def explain_refusal(message: str | None) -> Waiting | None:
    """Returns why an object that is needed cannot be made, if the apiserver said so."""
    if message is None:
        return None
    return Waiting(
        ConditionReason.REFUSED,
        f"The apiserver refuses an object that is needed: {message.rstrip('.')}."
        f" {JOB_REMEDIES[ConditionReason.REFUSED]}",
        needs_help=True,
    )


def is_late(since: datetime, now: datetime) -> bool:
    """Tells whether something should have happened by now."""
    return now - since > NOTICE_AFTER
