"""The only module that calls the Kubernetes API and the pods. Synchronous: callers run it in threads."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from customizer_operator.api.base import FIELD_MANAGER, GROUP, Object
from customizer_operator.apiserver import LEASES, ApiError, ApiServer, RefusedError, path_of, read_own_clock
from customizer_operator.cache import Cache, take_in
from customizer_operator.differences import is_within, merge_patch
from customizer_operator.objects.events import build_event
from customizer_operator.plan.plan import (
    NODE,
    POD,
    Annotation,
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
    Reference,
    Resource,
    Served,
    find_resource,
)
from customizer_operator.pod_client import PodClient

log = logging.getLogger(__name__)

APPLIED_ANNOTATION = f"{GROUP}/applied"
"""Digest of what was last applied: tells that a field was taken away, which a comparison cannot see."""

_SERVED_MAX_AGE = 10.0
_NODES_MAX_AGE = 60.0
_QUEUE_MAX_AGE = 10.0
_VISIBILITY = "/apis/visibility.kueue.x-k8s.io/v1beta2"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_MEMORY = 600.0
_LIST_LIMIT = 500
_ASKERS = 8
_LOG_LINES = "40"
_LOG_BYTES = 1 << 14
_REFUSALS = (400, 403, 422)


class Cluster:
    """Reads from the cluster and carries plans out. What it writes it also tells the cache."""

    def __init__(
        self, cache: Cache, kubeconfig: Path | None = None, clock: Callable[[], datetime] = read_own_clock
    ) -> None:
        self._api = ApiServer(kubeconfig, clock)
        self._cache = cache
        self._pods = PodClient()
        self._askers = ThreadPoolExecutor(_ASKERS, thread_name_prefix="asker")
        self._remembered: dict[Question, tuple[float, object]] = {}

    def refresh(self, resource: Resource, namespace: str | None) -> list[Object] | None:
        """Lists a resource into the cache; returns what was news, None if the cluster does not know the resource."""
        items: list[Object] = []
        query = {"limit": str(_LIST_LIMIT)}
        while True:
            try:
                page = self._api.call("GET", path_of(resource, namespace), query=query)
            except ApiError as error:
                if error.status == 404:
                    return None
                raise
            items += [kept for item in page["items"] if (kept := take_in(resource, item)) is not None]
            token = page["metadata"].get("continue")
            if not token:
                break
            query["continue"] = token
        return self._cache.replace(resource, items, int(page["metadata"]["resourceVersion"]), namespace)

    def now(self) -> datetime:
        """Returns the time by which objects are dated, in whole seconds."""
        return self._api.now().replace(microsecond=0)

    def answer(self, questions: Iterable[Question]) -> dict[Question, object]:
        """Answers what a decision asks."""
        now = time.monotonic()
        for question in [q for q, (when, _) in self._remembered.items() if now - when > _MEMORY]:
            self._remembered.pop(question, None)
        asked = list(questions)
        if len(asked) <= 1:
            return {question: self._answer(question, now) for question in asked}
        # A pod that does not answer costs seconds: many are asked at a time.
        answers = self._askers.map(lambda question: self._answer(question, now), asked)
        return dict(zip(asked, answers, strict=True))

    def guard(self, may_write: Callable[[], bool]) -> None:
        """Refuses every write, Leases excepted, unless `may_write` says so at that moment."""
        self._api.may_write = may_write

    def read_lease(self, namespace: str, name: str) -> Object | None:
        """Returns a Lease, None if there is none."""
        return self._find(f"{LEASES}/{namespace}/leases/{name}")

    def write_lease(self, namespace: str, lease: Object) -> bool:
        """Creates a Lease, or updates one that has not changed since it was read; False if somebody was faster."""
        metadata, path = lease["metadata"], f"{LEASES}/{namespace}/leases"
        known = "resourceVersion" in metadata
        try:
            if known:
                self._api.call("PUT", f"{path}/{metadata['name']}", body=lease)
            else:
                self._api.call("POST", path, body=lease)
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    def carry_out(self, subject: Object, resource: Resource, plan: Plan) -> bool:
        """Makes the cluster as planned; False when the subject has changed meanwhile and must be looked at again.

        Raises RefusedError for an object that the apiserver refuses; then the rest of the plan is not carried out.
        """
        namespace = subject["metadata"]["namespace"]
        try:
            for item in plan.create:
                self._create(namespace, item)
            for item in plan.apply:
                self._apply(namespace, item)
        except ApiError as error:
            if error.status in _REFUSALS:
                raise RefusedError(error.status, error.message) from error
            raise
        for annotation in plan.annotate:
            self._annotate(annotation)
        for reference in plan.delete:
            self._delete(reference)
        for event in plan.events:
            self._tell(subject, resource, event)
        if plan.status is not None and plan.status != subject.get("status", {}):
            return self._write_status(subject, resource, plan.status)
        return True

    def _create(self, namespace: str, item: Object) -> None:
        resource = find_resource(item)
        try:
            created = self._api.call(
                "POST", path_of(resource, namespace), body=item, query={"fieldManager": FIELD_MANAGER}
            )
        except ApiError as error:
            if error.status == 409:
                return
            raise
        log.info("created %s %s/%s", resource.kind, namespace, item["metadata"]["name"])
        self._cache.put(resource, created)

    def _apply(self, namespace: str, item: Object) -> None:
        resource = find_resource(item)
        name = item["metadata"]["name"]
        digest = hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()[:16]
        annotations = {**item["metadata"].get("annotations", {}), APPLIED_ANNOTATION: digest}
        desired = {**item, "metadata": {**item["metadata"], "annotations": annotations}}
        present = self._cache.get(resource, namespace, name)
        if present is not None and is_within(desired, present):
            return
        applied = self._api.call(
            "PATCH",
            path_of(resource, namespace, name),
            body=desired,
            content_type="application/apply-patch+yaml",
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
        )
        log.info("applied %s %s/%s", resource.kind, namespace, name)
        self._cache.put(resource, applied)

    def _annotate(self, annotation: Annotation) -> None:
        """Tells a running pod something. One that has gone meanwhile needs to know nothing."""
        body = {"metadata": {"uid": annotation.uid, "annotations": {annotation.key: annotation.value}}}
        try:
            written = self._api.call(
                "PATCH",
                path_of(POD, annotation.namespace, annotation.pod),
                body=body,
                content_type="application/merge-patch+json",
                query={"fieldManager": FIELD_MANAGER},
            )
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return
        log.info("told Pod %s/%s of %s", annotation.namespace, annotation.pod, annotation.key)
        if (kept := take_in(POD, written)) is not None:
            self._cache.put(POD, kept)

    def _delete(self, reference: Reference) -> None:
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": reference.uid},
        }
        try:
            left = self._api.call(
                "DELETE", path_of(reference.resource, reference.namespace, reference.name), body=options
            )
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            left = {}
        else:
            log.info("deleted %s %s/%s", reference.resource.kind, reference.namespace, reference.name)
        if "deletionTimestamp" not in left.get("metadata", {}):
            # Gone already. The watch may have begun too late to tell.
            gone = {"namespace": reference.namespace, "name": reference.name, "uid": reference.uid}
            self._cache.remove(reference.resource, {"metadata": gone})

    def _tell(self, subject: Object, resource: Resource, event: Event) -> None:
        """Writes an event under a name made from its content, so that the same one is written once."""
        metadata = subject["metadata"]
        body = build_event(subject, resource, event, self._api.now())
        try:
            self._api.call("POST", f"/apis/events.k8s.io/v1/namespaces/{metadata['namespace']}/events", body=body)
        except ApiError as error:
            if error.status != 409:
                log.warning("an event on %s/%s was not written: %s", metadata["namespace"], metadata["name"], error)

    def _write_status(self, subject: Object, resource: Resource, status: Object) -> bool:
        metadata = subject["metadata"]
        body = {
            "metadata": {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]},
            "status": merge_patch(subject.get("status", {}), status),
        }
        try:
            written = self._api.call(
                "PATCH",
                path_of(resource, metadata["namespace"], metadata["name"]) + "/status",
                body=body,
                content_type="application/merge-patch+json",
                query={"fieldManager": FIELD_MANAGER},
            )
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            self._look_again(resource, subject)
            return False
        self._cache.put(resource, written)
        return True

    def _look_again(self, resource: Resource, subject: Object) -> None:
        """Reads an object that is not what the cache believes: its watch may be late, or dead."""
        metadata = subject["metadata"]
        found = self._find(path_of(resource, metadata["namespace"], metadata["name"]))
        if found is None or found["metadata"]["uid"] != metadata["uid"]:
            self._cache.remove(resource, subject)
        if found is not None and (kept := take_in(resource, found)) is not None:
            self._cache.put(resource, kept)

    def _answer(self, question: Question, now: float) -> object:
        match question:
            case EventsOf(namespace, uid):
                query = {"fieldSelector": f"involvedObject.uid={uid}"}
                events = self._api.call("GET", f"/api/v1/namespaces/{namespace}/events", query=query)["items"]
                return sorted(events, key=lambda event: event["metadata"]["creationTimestamp"])
            case Exists(resource, namespace, name):
                return self._find(path_of(resource, namespace, name))
            case LogOf(namespace, pod, container):
                return self._read_log(namespace, pod, container)
            case HttpGet(url, max_age):
                return self._remember(question, now, max_age, lambda: self._pods.get(url))
            case Listed(resource, namespace, selector):
                found = self._find(path_of(resource, namespace), {"labelSelector": selector})
                return None if found is None else found["items"]
            case PendingWorkloads():
                return self._remember(question, now, _QUEUE_MAX_AGE, lambda: self._read_queue(question))
            case NodeLabels():
                return self._remember(question, now, _NODES_MAX_AGE, self._read_node_labels)
            case Served(resource):
                path = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
                return self._remember(question, now, _SERVED_MAX_AGE, lambda: self._knows(path, resource.plural))

    def _read_log(self, namespace: str, pod: str, container: str) -> str | None:
        query = {"container": container, "tailLines": _LOG_LINES}
        status, data = self._api.send("GET", f"{path_of(POD, namespace, pod)}/log", query=query)
        if status != 200:
            log.info("the log of pod %s/%s is not to be had: %s", namespace, pod, status)
            return None
        return data[-_LOG_BYTES:].decode(errors="replace")

    def _remember(self, question: Question, now: float, max_age: float, ask: Callable[[], object]) -> object:
        known = self._remembered.get(question)
        if known is not None and now - known[0] < max_age:
            return known[1]
        answer = ask()
        self._remembered[question] = (now, answer)
        return answer

    def _read_node_labels(self) -> dict[str, dict[str, str]]:
        """Lists the metadata of the nodes; the apiserver leaves the rest out."""
        answer = self._api.call("GET", path_of(NODE, None), accept=_METADATA_ONLY)
        nodes = answer["items"] or ()  # null when there are none
        return {node["metadata"]["name"]: node["metadata"].get("labels") or {} for node in nodes}

    def _knows(self, path: str, plural: str) -> bool:
        found = self._find(path)
        return found is not None and any(item["name"] == plural for item in found["resources"])

    def _read_queue(self, question: PendingWorkloads) -> list[Object] | None:
        """Asks Kueue's own apiserver, which may be switched off or not answer."""
        path = f"{_VISIBILITY}/namespaces/{question.namespace}/localqueues/{question.queue}/pendingworkloads"
        try:
            return list(self._api.call("GET", path)["items"])
        except ApiError as error:
            log.info("Kueue does not tell what waits in %s/%s: %s", question.namespace, question.queue, error)
            return None

    def _find(self, path: str, query: dict[str, str] | None = None) -> Object | None:
        try:
            return self._api.call("GET", path, query=query)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
