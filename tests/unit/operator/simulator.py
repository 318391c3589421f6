"""A world in memory that carries plans out: apiserver, garbage collector, training-operator, Job controller, kubelet.

`World.look()` is one turn of the operator's loop with the real cache, observer and planner. With `crash_after` the
operator dies after that many writes: the rest of its plan is lost, and the next look begins with what is there.
"""

import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from customizer_operator.api.base import Object
from customizer_operator.cache import Cache
from customizer_operator.differences import merge_patch
from customizer_operator.kinds import Kind, build_kinds
from customizer_operator.objects.images import Images
from customizer_operator.observer import ask, observe
from customizer_operator.plan.plan import (
    CUSTOMIZATION_JOB,
    JOB,
    POD,
    PYTORCH_JOB,
    Event,
    EventsOf,
    Exists,
    HttpGet,
    Listed,
    LogOf,
    NodeLabels,
    PendingWorkloads,
    Plan,
    Question,
    Resource,
    Served,
    find_resource,
)
from customizer_operator.settings import Settings

START = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
SETTINGS = Settings(images=Images(io="io:1", automodel="automodel:1", unsloth="unsloth:1"))
Place = tuple[Resource, str]


class World:
    """One namespace with one CustomizationJob."""

    def __init__(self, subject: Object) -> None:
        self.now = START
        self.node_clock = timedelta()
        """How far the clocks of the nodes are ahead of the apiserver's, by which the operator goes."""
        self.objects: dict[Place, Object] = {}
        self.events: dict[tuple[str, str, str], Event] = {}
        self.served: set[Resource] = {PYTORCH_JOB}
        self.progress: object = None
        self.logs: dict[tuple[str, str], str] = {}
        """By pod and container."""
        self.nodes: dict[str, dict[str, str]] = {}
        self.workloads: list[Object] | None = None
        """Kueue's; None where it does not run."""
        self.pending: list[Object] | None = None
        self.refusal: str | None = None
        self.kubernetes_events: dict[str, list[Object]] = {}
        self.effects = 0
        self.crash_after: int | None = None
        self.unseen: dict[Place, Object | None] = {}
        """What the watch believes of some objects, whatever has become of them; None: that they are not there."""
        self._version = 0
        self.kind: Kind = build_kinds(SETTINGS)[0]
        self.name = subject["metadata"]["name"]
        subject = copy.deepcopy(subject)
        subject["metadata"].setdefault("generation", 1)
        self.put(CUSTOMIZATION_JOB, subject)

    # The apiserver

    @property
    def subject(self) -> Object:
        """The job as it is."""
        return self.objects[CUSTOMIZATION_JOB, self.name]

    @property
    def status(self) -> Object:
        """Its status."""
        return dict(self.subject.get("status", {}))

    def put(self, resource: Resource, item: Object) -> Object:
        """Stores an object."""
        self._version += 1
        item = json.loads(json.dumps(item))
        metadata = item["metadata"]
        metadata["namespace"] = "team"
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"uid-{self._version}")
        metadata.setdefault("creationTimestamp", write_time(self.now))
        self.objects[resource, metadata["name"]] = item
        return dict(item)

    def set_spec(self, **changes: Any) -> None:
        """Changes the spec as a user does."""
        subject = copy.deepcopy(self.subject)
        subject["spec"].update(changes)
        subject["metadata"]["generation"] += 1
        self.put(CUSTOMIZATION_JOB, subject)

    def condition(self, kind: str) -> tuple[str, str]:
        """Returns status and reason of a condition."""
        found = {entry["type"]: (entry["status"], entry["reason"]) for entry in self.status.get("conditions", ())}
        return found.get(kind, ("", ""))

    # The operator

    def look(self) -> Plan:
        """Looks at the job once and carries the plan out, unless the operator crashes after one of its writes."""
        cache = Cache()
        for (resource, _), item in (self.objects | self.unseen).items():
            if item is not None:
                cache.put(resource, item)
        subject = self.subject
        observed = observe(self.kind, subject, cache, self.now)
        observed, _ = ask(self.kind, observed, lambda questions: {item: self._answer(item) for item in questions})
        plan = self.kind.plan(observed)
        if self.refusal is not None and plan.create:
            plan = self.kind.plan(observed.with_refusal(self.refusal)).only_told()
        assert all(condition["message"] for condition in (plan.status or {}).get("conditions", ()))
        for effect in self.find_effects(plan):
            effect()
            self.effects += 1
            if self.effects == self.crash_after:
                break
        return plan

    def find_effects(self, plan: Plan) -> list[Callable[[], object]]:
        """Returns the writes of a plan, in the order in which `cluster.carry_out` makes them."""
        effects: list[Callable[[], object]] = []
        for item in plan.create:
            place = (find_resource(item), item["metadata"]["name"])
            if place not in self.objects:  # 409 is done
                effects.append(lambda item=item, place=place: self.put(place[0], item))
        effects += [lambda r=reference: self._delete((r.resource, r.name), r.uid) for reference in plan.delete]
        effects += [lambda event=event: self._tell(event) for event in plan.events]
        if plan.status is not None and plan.status != self.status:
            patch = merge_patch(self.status, plan.status)
            assert _merge(self.status, patch) == plan.status
            effects.append(lambda: self.put(CUSTOMIZATION_JOB, {**self.subject, "status": plan.status}))
        return effects

    def settle(self, looks: int = 50) -> Plan:
        """Looks until nothing changes; a further look writes nothing."""
        for _ in range(looks):
            before = self.effects
            plan = self.look()
            if self.effects == before:
                return plan
        raise AssertionError(f"still changing after {looks} looks: {self.status}")

    def run(self, seconds: float) -> None:
        """Lets time pass, looking whenever the plan asked for it."""
        end = self.now + timedelta(seconds=seconds)
        while True:
            plan = self.settle()
            pause = plan.requeue_after
            if pause is None or self.now + timedelta(seconds=pause) > end:
                self.now = end
                self.settle()
                return
            self.now += timedelta(seconds=max(pause, 0.001))

    def _tell(self, event: Event) -> None:
        self.events[event.reason, event.message, event.occasion] = event

    def _answer(self, question: Question) -> object:
        match question:
            case Exists(resource, _, name):
                return self.objects.get((resource, name))
            case Served(resource):
                return resource in self.served
            case EventsOf(_, uid):
                return self.kubernetes_events.get(uid, [])
            case HttpGet():
                return self.progress
            case LogOf(_, pod, container):
                return self.logs.get((pod, container))
            case Listed(_, _, selector):
                return self.workloads if "kueue" in selector else []
            case PendingWorkloads():
                return self.pending
            case NodeLabels():
                return self.nodes

    def _delete(self, place: Place, uid: str) -> None:
        item = self.objects.get(place)
        if item is None or item["metadata"]["uid"] != uid:
            return
        del self.objects[place]
        for pod in self.pods():  # the garbage collector: pods get their time to stop
            if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences", ())):
                self.stop_pod(pod["metadata"]["name"])

    # Training-operator, Job controller, kubelet

    def pods(self) -> list[Object]:
        """All pods."""
        return [item for (resource, _), item in self.objects.items() if resource is POD]

    def make_pod(self, owner: Place, template: Mapping[str, Any], name: str, **labels: str) -> None:
        """Creates a pod of a workload."""
        item = self.objects[owner]
        self.put(
            POD,
            {
                "metadata": {
                    "name": name,
                    "labels": {**template["metadata"]["labels"], **labels},
                    "ownerReferences": [{"uid": item["metadata"]["uid"], "controller": True}],
                },
                "spec": {**copy.deepcopy(template["spec"])},
                "status": {"phase": "Pending"},
            },
        )

    def make_preflight_pod(self) -> str:
        """Creates the pod of the preflight Job."""
        owner = (JOB, f"{self.name}-preflight")
        name = f"{self.name}-preflight-{self._version}"
        self.make_pod(owner, self.objects[owner]["spec"]["template"], name)
        return name

    def pass_preflight(self, result: str) -> None:
        """Lets preflight pass."""
        self.end_pod(self.make_preflight_pod(), 0, result)
        self.set_conditions((JOB, f"{self.name}-preflight"), "Complete")

    def make_workers(self, number: int) -> list[str]:
        """Creates the pods of an attempt."""
        place = (PYTORCH_JOB, f"{self.name}-a{number}")
        worker = self.objects[place]["spec"]["pytorchReplicaSpecs"]["Worker"]
        self.set_conditions(place, "Created")
        names = []
        for index in range(worker["replicas"]):
            names.append(f"{place[1]}-worker-{index}")
            self.make_worker(number, index)
        return names

    def make_worker(self, number: int, index: int) -> None:
        """Creates the pod of one rank."""
        place = (PYTORCH_JOB, f"{self.name}-a{number}")
        template = self.objects[place]["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
        labels = {"training.kubeflow.org/replica-index": str(index)}
        self.make_pod(place, template, f"{place[1]}-worker-{index}", **labels)

    def run_pods(self, *names: str) -> None:
        """Lets pods run on nodes of their own."""
        running = {"running": {"startedAt": write_time(self.now + self.node_clock)}}
        for index, name in enumerate(names):
            self._set_pod(name, "Running", running, node=f"node-{index}")

    def end_pod(self, name: str, exit_code: int, message: str = "", *, cause: str | None = None) -> None:
        """Lets a pod's main container end."""
        terminated = {
            "exitCode": exit_code,
            "reason": cause or ("Completed" if exit_code == 0 else "Error"),
            "message": message,
            "startedAt": write_time(self.now + self.node_clock),
            "finishedAt": write_time(self.now + self.node_clock),
        }
        self._set_pod(name, "Failed" if exit_code else "Succeeded", {"terminated": terminated})

    def block_pod(self, name: str, reason: str, message: str) -> None:
        """Lets a pod's main container wait."""
        self._set_pod(name, "Pending", {"waiting": {"reason": reason, "message": message}})

    def stop_pod(self, name: str) -> None:
        """Tells a pod to stop within its grace period."""
        pod = copy.deepcopy(self.objects[POD, name])
        grace = pod["spec"]["terminationGracePeriodSeconds"]
        pod["metadata"].setdefault("deletionTimestamp", write_time(self.now + timedelta(seconds=grace)))
        self.put(POD, pod)

    def disrupt_pod(self, name: str, reason: str) -> None:
        """Marks a pod as taken away by Kubernetes."""
        pod = copy.deepcopy(self.objects[POD, name])
        entry = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        pod["status"].setdefault("conditions", []).append(entry)
        self.put(POD, pod)

    def remove_pods(self, *names: str) -> None:
        """Removes pods that have stopped."""
        for name in names or [pod["metadata"]["name"] for pod in self.pods()]:
            del self.objects[POD, name]

    def set_conditions(self, place: Place, *kinds: str, message: str = "") -> None:
        """Sets the conditions of a workload."""
        item = copy.deepcopy(self.objects[place])
        item.setdefault("status", {})["conditions"] = [
            {"type": kind, "status": "True", "message": message} for kind in kinds
        ]
        self.put(place[0], item)

    def _set_pod(self, name: str, phase: str, state: Object, node: str | None = None) -> None:
        pod = copy.deepcopy(self.objects[POD, name])
        container = pod["spec"]["containers"][0]
        status = {"phase": phase, "containerStatuses": [{"name": container["name"], "image": "i", "state": state}]}
        pod["status"] = {**pod["status"], **status, "podIP": "10.0.0.1"}
        if node is not None:
            pod["spec"]["nodeName"] = node
            placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": write_time(self.now)}
            pod["status"].setdefault("conditions", []).append(placed)
        self.put(POD, pod)


def write_time(moment: datetime) -> str:
    """Writes a time as the API does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7386, as the apiserver has it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result
