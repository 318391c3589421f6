"""A namespace of the apiserver, and the part of training-operator, Job controller and kubelet in it."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.control_plane import ApiRefusedError, ControlPlane

OURS = "/apis/customizer.dev/v1alpha1"
_PLURALS = {
    "customizationjobs": OURS,
    "modeldeployments": OURS,
    "workloads": "/apis/kueue.x-k8s.io/v1beta2",
    "localqueues": "/apis/kueue.x-k8s.io/v1beta2",
    "pytorchjobs": "/apis/kubeflow.org/v1",
    "jobs": "/apis/batch/v1",
    "deployments": "/apis/apps/v1",
    "pods": "/api/v1",
    "configmaps": "/api/v1",
    "services": "/api/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "ingresses": "/apis/networking.k8s.io/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "httproutes": "/apis/gateway.networking.k8s.io/v1",
    "servicemonitors": "/apis/monitoring.coreos.com/v1",
    "events": "/api/v1",
}
_PATIENCE = 60.0

Object = dict[str, Any]


class World:
    """Reads and writes objects of one namespace as administrator."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace
        plane.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})

    def remove(self) -> None:
        """Deletes everything of ours; the namespace itself has no controller here that would remove it."""
        for plural in _PLURALS:
            try:
                self.plane.call("DELETE", f"{self._path(plural)}?gracePeriodSeconds=0&propagationPolicy=Background")
            except ApiRefusedError:
                continue

    def _path(self, plural: str, name: str | None = None) -> str:
        path = f"{_PLURALS[plural]}/namespaces/{self.namespace}/{plural}"
        return path if name is None else f"{path}/{name}"

    def get(self, plural: str, name: str) -> Object | None:
        """Returns an object, None when it does not exist."""
        try:
            return dict(self.plane.call("GET", self._path(plural, name)))
        except ApiRefusedError as error:
            if error.status == 404:
                return None
            raise

    def all(self, plural: str) -> list[Object]:
        """Returns all objects."""
        return list(self.plane.call("GET", self._path(plural))["items"])

    def create(self, plural: str, item: Object, *, dry_run: bool = False) -> Object:
        """Creates an object, unknown fields refused as by kubectl; a dry run tells what would be stored."""
        options = "fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return dict(self.plane.call("POST", f"{self._path(plural)}?{options}", item))

    def patch(self, plural: str, name: str, patch: Object, subresource: str = "") -> Object:
        """Changes an object by a merge patch."""
        path = self._path(plural, name) + subresource
        return dict(self.plane.call("PATCH", path, patch, "application/merge-patch+json"))

    def apply(self, plural: str, item: Object, manager: str) -> Object:
        """Applies an object on the server side; raises for a conflict with another manager."""
        path = f"{self._path(plural, item['metadata']['name'])}?fieldManager={manager}&fieldValidation=Strict"
        return dict(self.plane.call("PATCH", path, item, "application/apply-patch+yaml"))

    def delete(self, plural: str, name: str) -> None:
        """Deletes an object at once."""
        self.plane.call("DELETE", f"{self._path(plural, name)}?gracePeriodSeconds=0&propagationPolicy=Background")

    def wait(self, what: str, find: Callable[[], Any], patience: float = _PATIENCE) -> Any:
        """Waits until `find` returns something true, and returns it."""
        deadline = time.monotonic() + patience
        while True:
            if found := find():
                return found
            if time.monotonic() > deadline:
                jobs = [item.get("status") for item in self.all("customizationjobs")]
                raise AssertionError(f"waited in vain for: {what}\n{jobs}")
            time.sleep(0.1)

    def wait_for(self, plural: str, name: str) -> Object:
        """Waits for an object."""
        return dict(self.wait(f"{plural} {name}", lambda: self.get(plural, name)))

    def wait_for_condition(
        self,
        name: str,
        kind: str,
        status: str = "True",
        reason: str | None = None,
        plural: str = "customizationjobs",
        patience: float = _PATIENCE,
    ) -> Object:
        """Waits for a condition of an object of ours; returns the condition."""

        def find() -> Object | None:
            for condition in ((self.get(plural, name) or {}).get("status") or {}).get("conditions", ()):
                if condition["type"] == kind and condition["status"] == status:
                    return condition if reason is None or condition["reason"] == reason else None
            return None

        return dict(self.wait(f"{name}: {kind}={status} {reason or ''}", find, patience))

    @contextmanager
    def forbid_pytorchjobs(self, message: str) -> Iterator[None]:
        """Lets a policy refuse new PyTorchJobs in this namespace."""
        policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
        rule = {
            "apiGroups": ["kubeflow.org"],
            "apiVersions": ["*"],
            "operations": ["CREATE"],
            "resources": ["pytorchjobs"],
        }
        spec = {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": message}],
        }
        selector = {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}
        binding = {
            "policyName": self.namespace,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        }
        name = {"name": self.namespace}
        self.plane.call("POST", policies, {"metadata": name, "spec": spec})
        self.plane.call("POST", f"{policies.removesuffix('ies')}ybindings", {"metadata": name, "spec": binding})
        self.wait("the policy", lambda: self._refuses(message))
        yield
        self.plane.call("DELETE", f"{policies.removesuffix('ies')}ybindings/{self.namespace}")
        self.plane.call("DELETE", f"{policies}/{self.namespace}")

    def _refuses(self, message: str) -> bool:
        item = {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": "probe"},
            "spec": {"pytorchReplicaSpecs": {}},
        }
        try:
            self.plane.call("POST", f"{self._path('pytorchjobs')}?dryRun=All", item)
        except ApiRefusedError as error:
            return message in error.message
        return False

    # What controllers and kubelets do

    def make_pod(self, owner: Object, template: Object, name: str, labels: Object) -> Object:
        """Creates a pod of a workload, as its controller does."""
        pod = {
            "metadata": {
                "name": name,
                "labels": {**template["metadata"]["labels"], **labels},
                "annotations": template["metadata"].get("annotations") or {},
                "ownerReferences": [
                    {
                        "apiVersion": owner["apiVersion"],
                        "kind": owner["kind"],
                        "name": owner["metadata"]["name"],
                        "uid": owner["metadata"]["uid"],
                        "controller": True,
                    }
                ],
            },
            "spec": copy.deepcopy(template["spec"]),
        }
        pod["spec"]["restartPolicy"] = "Never"
        return self.create("pods", pod)

    def make_workers(self, name: str) -> list[str]:
        """Creates the pods of a PyTorchJob and takes notice of it, as training-operator does."""
        job = self.wait_for("pytorchjobs", name)
        worker = job["spec"]["pytorchReplicaSpecs"]["Worker"]
        self.set_training_job(name, "Created")
        names = [f"{name}-worker-{index}" for index in range(worker["replicas"])]
        for index, pod in enumerate(names):
            self.make_pod(job, worker["template"], pod, {"training.kubeflow.org/replica-index": str(index)})
        return names

    def set_training_job(self, name: str, *conditions: str) -> None:
        """Sets the conditions of a PyTorchJob."""
        now = timestamp()
        entries = [
            {"type": kind, "status": "True", "reason": kind, "message": kind, "lastTransitionTime": now}
            for kind in conditions
        ]
        self.patch("pytorchjobs", name, {"status": {"conditions": entries, "replicaStatuses": {}}}, "/status")

    def finish_job(self, name: str, *, succeeded: bool = True) -> None:
        """Lets a Job have ended, as its controller does."""
        now = timestamp()
        first, last = ("SuccessCriteriaMet", "Complete") if succeeded else ("FailureTarget", "Failed")
        conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in (first, last)]
        counts: Object = {"succeeded": 1, "completionTime": now} if succeeded else {"failed": 1}
        status = {"conditions": conditions, "startTime": now, **counts, "uncountedTerminatedPods": {}}
        self.patch("jobs", name, {"status": status}, "/status")

    def run_pod(self, name: str, ip: str = "127.0.0.1") -> None:
        """Lets a pod run on a node."""
        pod = self.wait_for("pods", name)
        if "nodeName" not in pod["spec"]:
            binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": "node-a"}}
            self.plane.call("POST", self._path("pods", name) + "/binding", binding)
        state = {"running": {"startedAt": timestamp(1)}}
        self._set_pod(pod, "Running", state, ip)

    def end_pod(self, name: str, exit_code: int, message: str = "", cause: str | None = None) -> None:
        """Lets a pod's main container end."""
        pod = self.wait_for("pods", name)
        terminated = {
            "exitCode": exit_code,
            "reason": cause or ("Completed" if exit_code == 0 else "Error"),
            "message": message,
            "startedAt": timestamp(),
            "finishedAt": timestamp(1),
        }
        self._set_pod(pod, "Succeeded" if exit_code == 0 else "Failed", {"terminated": terminated})

    def block_pod(self, name: str, reason: str, message: str) -> None:
        """Lets a pod's main container wait for something."""
        pod = self.wait_for("pods", name)
        self._set_pod(pod, "Pending", {"waiting": {"reason": reason, "message": message}})

    def _set_pod(self, pod: Object, phase: str, state: Object, ip: str | None = None) -> None:
        container = pod["spec"]["containers"][0]
        status: Object = {
            "phase": phase,
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": "running" in state,
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        if ip is not None:
            status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
        self.patch("pods", pod["metadata"]["name"], {"status": status}, "/status")

    def make_preflight_pod(self, job: str) -> str:
        """Creates the pod of a preflight Job."""
        owner = self.wait_for("jobs", f"{job}-preflight")
        owner |= {"apiVersion": "batch/v1", "kind": "Job"}
        name = f"{job}-preflight-{int(time.monotonic() * 1000) % 100000}"
        self.make_pod(owner, owner["spec"]["template"], name, {"job-name": f"{job}-preflight"})
        return name

    def pass_preflight(self, job: str, result: str) -> None:
        """Lets preflight succeed."""
        self.end_pod(self.make_preflight_pod(job), 0, result)


def timestamp(seconds_ahead: int = 0) -> str:
    """Returns the time as the API writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds_ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")
