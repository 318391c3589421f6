"""A cluster for plans: it does what the API, the controllers and the kubelets would, one step at a time."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from customizer_contract.adapters import AdapterReport, ProbeReport, SidecarReport, Wish
from customizer_contract.errors import ExitCode, Reason
from customizer_contract.evaluation import EvaluationReport
from customizer_contract.result import ArtifactReference, Problem, Result
from customizer_contract.serving import Serving
from customizer_operator.api.base import Object
from customizer_operator.objects.images import Images
from customizer_operator.objects.serving_pods import FILE_ANNOTATION
from customizer_operator.objects.serving_sidecar import WISH_ANNOTATION
from customizer_operator.plan.plan import (
    CUSTOMIZATION_JOB,
    DEPLOYMENT,
    JOB,
    NIM_SERVICE,
    POD,
    Annotation,
    Exists,
    HttpGet,
    Observed,
    Plan,
    Resource,
    Served,
    find_resource,
)
from customizer_operator.plan.serving import ask_about_deployment, plan_deployment

IMAGES = Images(io="io:1", automodel="automodel:1", unsloth="unsloth:1", vllm="vllm:1", multi_llm="nim/llm-nim:1.15.5")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = "a" * 64
ADAPTER = ArtifactReference.model_validate(
    {
        "name": "tickets",
        "uri": "s3://demo/out",
        "manifestDigest": DIGEST,
        "type": "adapter",
        "baseModel": "s3://demo/base",
        "sizeBytes": 1000,
        "promptFormat": "completion",
        "adapter": {"rank": 8, "alpha": 16, "targetModules": ["q_proj"]},
    }
)
MODEL = ADAPTER.model_copy(update={"type": "model", "adapter": None, "prompt_format": "chat"})


SERVERS, CANARY = "10.0.0.1", "10.0.0.2"
"""Addresses of the pods."""
REFUSAL = Problem(reason=Reason.ARTIFACT_INVALID, message="weights.bin is missing")
ARTIFACT: Object = {"model": {"artifact": {"uri": "s3://demo/out"}}}


def build_deployment(**spec: Any) -> Object:
    """Builds a ModelDeployment of the job `tickets`; members of the spec replace the defaults."""
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "bot", "namespace": "team", "uid": "md-1", "generation": 1},
        "spec": {"model": {"customizationJobRef": {"name": "tickets"}}, "runtime": {"type": "VLLM"}, **spec},
    }


def build_job(**status: Any) -> Object:
    """Builds the CustomizationJob `tickets` with a status."""
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "CustomizationJob",
        "metadata": {"name": "tickets", "namespace": "team", "uid": "cj-1"},
        "spec": {
            "model": {"s3": {"uri": "s3://demo/base"}},
            "dataset": {"training": {"s3": {"uri": "s3://demo/data.jsonl"}}},
            "automodel": {},
            "output": {"s3": {"uri": "s3://demo/out"}},
            "objectStorage": {"endpointUrl": "http://s3:7070", "credentialsSecretRef": {"name": "keys"}},
            "compute": {"device": "cpu"},
        },
        "status": status,
    }


def publish(artifact: ArtifactReference) -> Object:
    """Builds the job after it has published."""
    return build_job(state="Complete", artifact=artifact.model_dump(by_alias=True, exclude_none=True))


@dataclass
class World:
    """What there is. Tests set what nobody would do by himself: results, listed names, readiness."""

    subject: Object
    job: Object | None = None
    verdict: ArtifactReference | Problem | Result | None = None
    """What the verify pod finds; None: it does not end."""
    listed: list[str] | None = None
    """What ready servers list; None: no server becomes ready."""
    ready_at: datetime | None = None
    """Since when ready servers are; None: nobody tells."""
    server_status: Object = field(default_factory=dict)
    """Status of a server's pod while it is not ready."""
    adapters: dict[str, AdapterReport] = field(default_factory=dict)
    """What sidecars tell of adapters, by name; every other that is wished is loaded."""
    answer: ProbeReport | None = None
    """How servers answer the probe; None: not yet."""
    answers: dict[str, ProbeReport] = field(default_factory=dict)
    """The same of servers of an artifact, by the digest of its manifest."""
    scores: dict[str, EvaluationReport] = field(default_factory=dict)
    """How servers of an artifact answer spec.evaluation, by the digest of its manifest; others do not yet."""
    has_key: bool = False
    """Whether servers answer only to who shows a key, so that only their sidecars know what they list."""
    refusal: str | None = None
    """What the apiserver says to every object that is planned."""
    others: dict[Exists, Object] = field(default_factory=dict)
    more_jobs: dict[str, Object] = field(default_factory=dict)
    """Jobs beside `job`, by name."""
    frozen: Object | None = None
    """The Deployment, where its controller gets no further."""
    nvidia_is_away: bool = False
    """Whether NVIDIA's operator takes no notice of NIMServices."""
    unknown: set[Served] = field(default_factory=set)
    """Resources that the cluster does not know."""
    objects: dict[tuple[Resource, str], Object] = field(default_factory=dict)
    images: Images = IMAGES
    now: datetime = NOW
    log: list[Plan] = field(default_factory=list)

    def step(self, effects: int | None = None) -> Plan:
        """Plans once and carries the plan out, or only its first effects, as one who dies then; the cluster reacts."""
        observed = self.observe()
        answers = {question: self._answer(question) for question in ask_about_deployment(observed)}
        observed = observed.with_answers(answers)
        plan = plan_deployment(observed, self.images)
        if self.refusal is not None and (plan.create or plan.apply):
            plan = plan_deployment(observed.with_refusal(self.refusal), self.images).only_told()
        assert all(condition["message"] for condition in (plan.status or {}).get("conditions", ()))
        for effect in self._list_effects(plan)[:effects]:
            effect()
        self.log.append(plan)
        self._react()
        self.now += timedelta(seconds=5)
        return plan

    def _list_effects(self, plan: Plan) -> list[Callable[[], None]]:
        return [
            *(partial(self._create, item) for item in plan.create),
            *(partial(self._apply, item) for item in plan.apply),
            *(partial(self._annotate, told) for told in plan.annotate),
            *(partial(self.remove, gone.resource, gone.name) for gone in plan.delete),
            *([partial(self._write_status, plan.status)] if plan.status is not None else []),
        ]

    def _create(self, item: Object) -> None:
        self.objects.setdefault(self._place(item), self._store(item))

    def _apply(self, item: Object) -> None:
        old = self.objects.get(self._place(item), {})
        self.objects[self._place(item)] = {**self._store(item), "status": old.get("status", {})}

    def _annotate(self, told: Annotation) -> None:
        pod = self.objects[POD, told.pod]
        assert pod["metadata"]["uid"] == told.uid
        pod["metadata"].setdefault("annotations", {})[told.key] = told.value

    def _write_status(self, status: Object) -> None:
        self.subject = {**self.subject, "status": status}

    def settle(self, limit: int = 20) -> Object:
        """Steps until nothing changes any more; returns the status."""
        for _ in range(limit):
            before = copy.deepcopy((self.objects, self.subject))
            self.step()
            if before == (self.objects, self.subject):
                return dict(self.subject["status"])
        raise AssertionError(f"still changing after {limit} steps: {self.subject['status']}")

    def change(self, **spec: Any) -> None:
        """Edits the spec, as a user would."""
        metadata = self.subject["metadata"]
        self.subject = {
            **self.subject,
            "metadata": {**metadata, "generation": metadata["generation"] + 1},
            "spec": {**self.subject["spec"], **spec},
        }

    def observe(self) -> Observed:
        """Returns what the operator's caches would hold."""
        children: dict[Resource, list[Object]] = {}
        for (resource, _), item in sorted(self.objects.items(), key=lambda entry: entry[0][1]):
            children.setdefault(resource, []).append(item)
        return Observed(
            subject=self.subject,
            children={resource: tuple(items) for resource, items in children.items()},
            referenced={
                (CUSTOMIZATION_JOB, job["metadata"]["name"]): job
                for job in (self.job, *self.more_jobs.values())
                if job is not None
            },
            now=self.now,
        )

    def get(self, resource: Resource, name: str) -> Object:
        """Returns an object that must be there."""
        return self.objects[resource, name]

    def remove(self, resource: Resource, name: str) -> None:
        """Deletes an object and what belongs to it."""
        gone = self.objects.pop((resource, name))
        for place, item in list(self.objects.items()):
            if any(owner["uid"] == gone["metadata"]["uid"] for owner in item["metadata"].get("ownerReferences", ())):
                del self.objects[place]

    def _answer(self, question: object) -> object:
        match question:
            case HttpGet(url) if url.endswith("/report"):
                return json.loads(self._report(url.split("//")[1].split(":")[0]).to_json())
            case HttpGet() if self.has_key:
                return None
            case HttpGet():
                loaded = [adapter.name for adapter in self._report().adapters if adapter.state == "Loaded"]
                return {"object": "list", "data": [{"id": name} for name in [*(self.listed or []), *loaded]]}
            case Exists():
                return self.others.get(question)
            case Served():
                return question not in self.unknown
            case _:
                return []

    def _report(self, address: str = SERVERS) -> SidecarReport:
        """Tells what the sidecars tell; those of one address are all as far as the first."""
        annotations = self.objects[POD, "bot-0" if address == SERVERS else "bot-canary-0"]["metadata"]["annotations"]
        if WISH_ANNOTATION not in annotations:
            return SidecarReport(wish="")
        wish = Wish.model_validate_json(annotations[WISH_ANNOTATION])
        artifact = Serving.model_validate_json(annotations[FILE_ANNOTATION]).artifact
        digest = (artifact.manifest_digest if artifact else None) or ""
        answer, score = self.answers.get(digest, self.answer), self.scores.get(digest)
        return SidecarReport(
            wish=wish.digest,
            models=self.listed,
            probe=answer if wish.probe else None,
            evaluation=score.model_copy(update={"question": wish.evaluation.digest})
            if score and wish.evaluation
            else None,
            adapters=[
                self.adapters.get(adapter.name)
                or AdapterReport(name=adapter.name, state="Loaded", manifest_digest=DIGEST, prompt_format="completion")
                for adapter in wish.adapters
            ],
        )

    def _place(self, item: Object) -> tuple[Resource, str]:
        return find_resource(item), item["metadata"]["name"]

    def _store(self, item: Object) -> Object:
        name = f"{item['kind']}-{item['metadata']['name']}".lower()
        old = self.objects.get(self._place(item), {}).get("metadata", {})
        created = old.get("creationTimestamp", self.now.isoformat())
        return {
            **item,
            "metadata": {**item["metadata"], "uid": name, "generation": 1, "creationTimestamp": created},
        }

    def _react(self) -> None:
        for resource, name in list(self.objects):
            item = self.objects.get((resource, name), {})
            if not item:
                continue
            if resource == JOB:
                self._run_job(name, item)
            if resource == NIM_SERVICE and not self.nvidia_is_away:
                self._run_nim_operator(name, item)
            if resource == DEPLOYMENT and self.frozen is not None:
                self.objects[resource, name] = self.frozen
            elif resource == DEPLOYMENT:
                self._run_servers(name, item)

    def _run_job(self, name: str, job: Object) -> None:
        if self.verdict is None:
            return
        result = (
            self.verdict
            if isinstance(self.verdict, Result)
            else Result(
                command="verify",
                artifact=self.verdict if isinstance(self.verdict, ArtifactReference) else None,
                error=self.verdict if isinstance(self.verdict, Problem) else None,
            )
        )
        is_fine = result.error is None
        end = {"exitCode": 0 if is_fine else int(ExitCode.BAD_INPUT), "message": result.to_json()}
        state = {"terminated": {**end, "finishedAt": NOW.isoformat()}}
        pod = self._pod(f"{name}-x", job, {"phase": "Succeeded" if is_fine else "Failed"})
        pod["status"]["containerStatuses"] = [{"name": "verify", "state": state}]
        self.objects[POD, f"{name}-x"] = pod
        ended = {"type": "Complete" if is_fine else "Failed", "status": "True"}
        self.objects[JOB, name] = {**job, "status": {"conditions": [ended]}}

    def _run_nim_operator(self, name: str, service: Object) -> None:
        """Makes a Deployment of a NIMService as NVIDIA's operator does, as far as ours looks at it."""
        noticed = {**service["metadata"], "finalizers": ["finalizer.nimservice.apps.nvidia.com"]}
        self.objects[NIM_SERVICE, name] = {**service, "metadata": noticed}
        spec = service["spec"]
        containers = [
            {"name": entry["name"], "image": f"{entry['image']['repository']}:{entry['image']['tag']}"}
            for entry in spec["initContainers"]
        ]
        labels = {**spec["labels"], "app": name}
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": name,
                "namespace": "team",
                "labels": labels,
                "annotations": spec["annotations"],
                "ownerReferences": [{"uid": service["metadata"]["uid"], "controller": True}],
            },
            "spec": {
                "replicas": spec["replicas"],
                "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}},
                "template": {
                    "metadata": {"labels": labels, "annotations": spec["annotations"]},
                    "spec": {
                        "initContainers": containers,
                        "containers": [{"name": f"{name}-ctr", "env": spec["env"]}],
                    },
                },
            },
        }
        self._run_servers(name, self._store(deployment))

    def _run_servers(self, name: str, deployment: Object) -> None:
        wanted = deployment["spec"]["replicas"]
        address = SERVERS if name == "bot" else CANARY
        since = {"lastTransitionTime": self.ready_at.isoformat()} if self.ready_at else {}
        conditions = [{"type": "Ready", "status": "True", **since}]
        ready: Object = {"phase": "Running", "podIP": address, "conditions": conditions}
        for number in range(wanted):
            status = ready if self.listed is not None else {"phase": "Pending", **self.server_status}
            pod = self._pod(f"{name}-{number}", deployment, status)
            before = self.objects.get((POD, f"{name}-{number}"))
            if before is not None and before["spec"] == pod["spec"] and _file_of(before) == _file_of(pod):
                pod["metadata"]["annotations"] = before["metadata"]["annotations"]
            self.objects[POD, f"{name}-{number}"] = pod
        for resource, other in list(self.objects):
            index = other.removeprefix(f"{name}-")
            if resource == POD and index.isdigit() and int(index) >= wanted:
                del self.objects[resource, other]
        counts = {"replicas": wanted, "updatedReplicas": wanted, "observedGeneration": 1}
        self.objects[DEPLOYMENT, name] = {**deployment, "status": counts}

    def _pod(self, name: str, owner: Object, status: Object) -> Object:
        template = owner["spec"]["template"]
        controller = {"kind": "Job", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        labels = template["metadata"]["labels"]
        if owner["kind"] == "Deployment":
            controller |= {"kind": "ReplicaSet", "name": f"{owner['metadata']['name']}-1"}
            labels = {**labels, "pod-template-hash": "1"}
        return {
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": f"pod-{name}",
                "labels": labels,
                "annotations": dict(template["metadata"]["annotations"]),
                "creationTimestamp": NOW.isoformat(),
                "ownerReferences": [{**controller, "controller": True}],
            },
            "spec": template["spec"],
            "status": dict(status),
        }


def _file_of(pod: Object) -> object:
    return pod["metadata"]["annotations"].get(FILE_ANNOTATION)


def condition(status: dict[str, Any], kind: str) -> tuple[str, str]:
    """Returns status and reason of a condition."""
    return next((entry["status"], entry["reason"]) for entry in status["conditions"] if entry["type"] == kind)


def served(**spec: Any) -> World:
    """Returns a world in which the adapter of the job `tickets` is served."""
    world = World(build_deployment(**spec), publish(ADAPTER), ADAPTER, listed=["tickets", "tickets-base"])
    assert world.settle()["state"] == "Ready"
    return world
