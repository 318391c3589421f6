"""What running servers are told by way of their sidecars - adapters and the probe - and what these tell of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from customizer_contract.adapters import (
    AdapterInput,
    AdapterReport,
    ProbeInput,
    ProbeReport,
    SidecarReport,
    Wish,
)
from customizer_contract.evaluation import EvaluationInput
from customizer_contract.serving import ArtifactInput
from customizer_operator.api.base import Object
from customizer_operator.api.common import ObjectStorage
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.api.model_adapters import Adapter, AdapterStatus
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.api.model_probe import ProbeStatus
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.objects.serving_sidecar import WISH_ANNOTATION, has_sidecar, needs_sidecar
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, Annotation, Observed
from customizer_operator.plan.pods import Pod
from customizer_operator.plan.serving_replicas import find_listed
from customizer_operator.plan.serving_reports import read_report
from customizer_operator.plan.serving_trouble import Trouble

_NAMED = 3
"""Adapters that a message names; of more it gives the number."""


@dataclass(frozen=True, slots=True)
class Adapters:
    """What is wished, and how far the servers are."""

    statuses: tuple[AdapterStatus, ...]
    annotate: tuple[Annotation, ...]
    """What pods are told that do not know the newest wish."""
    refused: Trouble | None
    """The first adapter that somebody has to do something about."""
    pending: str | None
    """A sentence about those that are on their way."""
    has_room: bool = True
    """Whether the servers take adapters."""
    probe: ProbeStatus | None = None
    """None if nothing is asked."""
    failed: Trouble | None = None
    """A server that does not answer the probe as expected."""

    @property
    def all_answer(self) -> bool:
        """Whether every replica answers to every adapter."""
        return self.refused is None and self.pending is None

    @property
    def is_done(self) -> bool:
        """Whether the same holds for the probe, too."""
        asked = self.probe.passed.split("/") if self.probe else ["", ""]
        return self.all_answer and self.failed is None and asked[0] == asked[1]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Servers that are told the same."""

    pods: Sequence[Pod]
    names: Sequence[str]
    """Names of the models that they were started with, the tuned one first."""
    storage: ObjectStorage | None
    """The store that they read, where that is known."""
    replicas: int
    """How many there should be."""
    asked: Mapping[str, EvaluationInput] = field(default_factory=dict)
    """What single ones are asked, by the uid of the pod."""


@dataclass(frozen=True, slots=True)
class _Wished:
    """An adapter of the spec, and where it is, if that is known."""

    name: str
    artifact: ArtifactInput | None = None
    reason: str | None = None
    message: str | None = None
    stalled: bool = False


def find_adapter_jobs(subject: Object) -> list[str]:
    """Names the CustomizationJobs that a ModelDeployment has adapters of."""
    adapters = subject.get("spec", {}).get("adapters") or []
    return [adapter["customizationJobRef"]["name"] for adapter in adapters if adapter.get("customizationJobRef")]


def plan_adapters(observed: Observed, deployment: ModelDeployment, fleet: Fleet) -> Adapters | None:
    """Decides about adapters and probe; None if nothing is asked of servers while they run."""
    if not needs_sidecar(deployment):
        return None
    pods, replicas = fleet.pods, fleet.replicas
    wished = [
        _resolve(observed, deployment, adapter, fleet.storage, fleet.names)
        for adapter in deployment.spec.adapters or ()
    ]
    wish = Wish(
        adapters=[AdapterInput(name=one.name, artifact=one.artifact) for one in wished if one.artifact is not None],
        probe=_build_probe(deployment, fleet.names),
    )
    reports = {pod.uid: read_report(observed, pod) for pod in pods}
    statuses = tuple(_tell(observed, one, wish, pods, reports, replicas) for one in wished)
    wishes = [(pod, wish.model_copy(update={"evaluation": fleet.asked.get(pod.uid)})) for pod in pods]
    return Adapters(
        statuses=statuses,
        annotate=tuple(_annotate(pod, own) for pod, own in wishes if _is_behind(pod, own)),
        refused=_find_refused(wished, reports),
        pending=_find_pending(statuses, replicas),
        has_room=deployment.spec.runtime.lora is not None,
        probe=_tell_probe(wish, reports, replicas),
        failed=_find_failed(wish, reports),
    )


def _build_probe(deployment: ModelDeployment, names: Sequence[str]) -> ProbeInput | None:
    probe = deployment.spec.probe
    if probe is None:
        return None
    model = probe.model or next(iter(names), deployment.metadata.name)
    return ProbeInput.model_validate(probe.model_dump() | {"model": model})


def _find_probes(wish: Wish, reports: dict[str, SidecarReport | None]) -> list[ProbeReport]:
    """Returns how the newest probe was answered, a wrong answer first."""
    newest = [report.probe for report in reports.values() if report is not None and report.wish == wish.digest]
    return sorted((probe for probe in newest if probe is not None), key=lambda probe: probe.passed)


def _tell_probe(wish: Wish, reports: dict[str, SidecarReport | None], replicas: int) -> ProbeStatus | None:
    if wish.probe is None:
        return None
    probes = _find_probes(wish, reports)
    passed = min(replicas, sum(probe.passed for probe in probes))
    first = probes[0] if probes else None
    return ProbeStatus(
        passed=f"{passed}/{replicas}",
        answer=first.answer if first else None,
        message=first.message if first else None,
    )


def _find_failed(wish: Wish, reports: dict[str, SidecarReport | None]) -> Trouble | None:
    first = next(iter(_find_probes(wish, reports)), None) if wish.probe is not None else None
    if first is None or first.passed:
        return None
    said = f" It answered {first.answer!r}." if first.answer is not None else ""
    return Trouble(
        ServingReason.PROBE_FAILED,
        f"A server does not answer spec.probe as expected. {first.message or ''}{said} No request is sent to a server "
        "that has never answered as expected: correct the probe, or serve another artifact.",
    )


def _resolve(
    observed: Observed,
    deployment: ModelDeployment,
    adapter: Adapter,
    storage: ObjectStorage | None,
    taken: Collection[str],
) -> _Wished:
    if adapter.name in taken:
        message = f"{adapter.name} is the name of the served model: choose another for the adapter."
        return _Wished(adapter.name, reason=ServingReason.ADAPTER_NAME_TAKEN, message=message, stalled=True)
    if adapter.artifact is not None:
        artifact = ArtifactInput(uri=adapter.artifact.uri, manifest_digest=adapter.artifact.manifest_digest)
        return _Wished(adapter.name, artifact)
    # What was served under the name before is served until there is something else to serve.
    status = deployment.status.adapters if deployment.status else None
    before = next((one for one in status or () if one.name == adapter.name and one.uri is not None), None)
    kept = ArtifactInput(uri=before.uri, manifest_digest=before.manifest_digest) if before and before.uri else None
    name = adapter.customization_job_ref.name if adapter.customization_job_ref else ""
    found = observed.referenced.get((CUSTOMIZATION_JOB, name))
    if found is None:
        if kept is not None:
            # The artifact outlives the job that made it.
            return _Wished(adapter.name, kept)
        message = f"There is no CustomizationJob {name} in this namespace: create it, or correct spec.adapters."
        return _Wished(adapter.name, reason=ServingReason.JOB_NOT_FOUND, message=message, stalled=True)
    try:
        job = CustomizationJob.model_validate(found)
    except ValidationError as error:
        message = f"CustomizationJob {name} is not one that this operator understands: {error.errors()[0]['msg']}."
        return _Wished(adapter.name, kept, ServingReason.INVALID_SPEC, message, stalled=True)
    published = job.status.artifact if job.status else None
    if published is None:
        state = f", which is {job.status.state}" if job.status and job.status.state else ""
        message = f"Waits for CustomizationJob {name}{state}."
        return _Wished(adapter.name, kept, ServingReason.JOB_NOT_COMPLETE, message)
    if storage is not None and job.spec.object_storage.endpoint_url != storage.endpoint_url:
        message = f"CustomizationJob {name} has published to another store: name one that holds both in objectStorage."
        return _Wished(adapter.name, reason=ServingReason.ANOTHER_STORE, message=message, stalled=True)
    return _Wished(adapter.name, ArtifactInput(uri=published.uri, manifest_digest=published.manifest_digest))


def _tell(
    observed: Observed,
    wished: _Wished,
    wish: Wish,
    pods: Sequence[Pod],
    reports: dict[str, SidecarReport | None],
    replicas: int,
) -> AdapterStatus:
    ready = 0
    known: list[AdapterReport] = []
    for pod in pods:
        report = _find_report(reports[pod.uid], wish, wished.name)
        if report is None:
            continue
        known.append(report)
        ready += report.state == "Loaded" and wished.name in (find_listed(observed, pod) or ())
    bad = next((report for report in known if report.reason is not None), None)
    first = next((report for report in known if report.manifest_digest is not None), None)
    waits = None if wished.artifact is None or ready >= replicas else "The servers are loading it."
    digest = first.manifest_digest if first else None
    return AdapterStatus(
        name=wished.name,
        ready=f"{min(ready, replicas)}/{replicas}",
        uri=wished.artifact.uri if wished.artifact else None,
        manifest_digest=digest or (wished.artifact.manifest_digest if wished.artifact else None),
        endpoint=_find_endpoint(first),
        reason=wished.reason or (bad.reason if bad else ServingReason.ADAPTERS_LOADING if waits else None),
        message=wished.message or (bad.message if bad else waits),
    )


def _find_endpoint(report: AdapterReport | None) -> str | None:
    if report is None or report.prompt_format is None:
        return None
    return "/v1/chat/completions" if report.prompt_format == "chat" else "/v1/completions"


def _find_refused(wished: Sequence[_Wished], reports: dict[str, SidecarReport | None]) -> Trouble | None:
    for one in wished:
        if one.stalled:
            return Trouble(one.reason or "", f"Adapter {one.name}: {one.message}")
    names = {one.name for one in wished}
    for report in reports.values():
        for adapter in report.adapters if report else ():
            if adapter.state == "Refused" and adapter.name in names and adapter.reason is not None:
                return Trouble(adapter.reason, f"Adapter {adapter.name}: {adapter.message}")
    return None


def _find_pending(statuses: Sequence[AdapterStatus], replicas: int) -> str | None:
    waiting = [status for status in statuses if status.ready != f"{replicas}/{replicas}" or status.reason is not None]
    if not waiting:
        return None
    more = f" and {len(waiting) - _NAMED} more" if len(waiting) > _NAMED else ""
    names = ", ".join(status.name for status in waiting[:_NAMED])
    why = waiting[0].message or "The servers are loading it."
    return f"Not every replica answers to {names}{more} yet. {waiting[0].name}: {why}"


def _is_behind(pod: Pod, wish: Wish) -> bool:
    return has_sidecar(pod.raw) and not pod.is_over and _annotation(pod) != wish.to_json()


def _annotate(pod: Pod, wish: Wish) -> Annotation:
    return Annotation(pod.raw["metadata"]["namespace"], pod.name, pod.uid, WISH_ANNOTATION, wish.to_json())


def _annotation(pod: Pod) -> str | None:
    annotations: dict[str, str] = pod.raw["metadata"].get("annotations") or {}
    return annotations.get(WISH_ANNOTATION)


def _find_report(report: SidecarReport | None, wish: Wish, name: str) -> AdapterReport | None:
    """Returns what a sidecar says of an adapter; None if it has not read the newest wish."""
    if report is None or report.wish != wish.digest:
        return None
    return next((adapter for adapter in report.adapters if adapter.name == name), None)
