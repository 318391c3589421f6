"""Carries plans out: the only module that writes objects. What it writes it also tells the cache."""

import hashlib
import json
import logging
from collections.abc import Container

from customizer_operator.api.base import FIELD_MANAGER, GROUP, Object
from customizer_operator.apiserver import ApiError, ApiServer, RefusedError, path_of
from customizer_operator.cache import Cache, take_in
from customizer_operator.differences import is_within, merge_patch
from customizer_operator.objects.events import build_event
from customizer_operator.plan.plan import POD, Annotation, Event, Plan, Reference, Resource, find_resource, refer_to

log = logging.getLogger(__name__)

APPLIED_ANNOTATION = f"{GROUP}/applied"
"""Digest of what was last applied: tells that a field was taken away, which a comparison cannot see."""

_REFUSALS = (400, 403, 422)


class Writer:
    """Makes the cluster as planned."""

    def __init__(self, api: ApiServer, cache: Cache, watched: Container[Resource]) -> None:
        self._api = api
        self._cache = cache
        self._watched = watched
        """Of what no watch tells the cache must not hear either: it would believe it for ever."""

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
        self._remember(resource, created)

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
        self._remember(resource, applied)

    def _annotate(self, annotation: Annotation) -> None:
        """Tells a running pod something. One that has gone meanwhile needs to know nothing."""
        body = {"metadata": {"uid": annotation.uid, "annotations": {annotation.key: annotation.value}}}
        if self._patch(POD, path_of(POD, annotation.namespace, annotation.pod), body):
            log.info("told Pod %s/%s of %s", annotation.namespace, annotation.pod, annotation.key)

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
            self._cache.remove(reference)

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
        if self._patch(resource, path_of(resource, metadata["namespace"], metadata["name"]) + "/status", body):
            return True
        self._look_again(resource, subject)
        return False

    def _patch(self, resource: Resource, path: str, body: Object) -> bool:
        """Merges a patch into an object; False if that is gone, or another one than the patch says."""
        try:
            written = self._api.call(
                "PATCH",
                path,
                body=body,
                content_type="application/merge-patch+json",
                query={"fieldManager": FIELD_MANAGER},
            )
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return False
        self._remember(resource, written)
        return True

    def _look_again(self, resource: Resource, subject: Object) -> None:
        """Reads an object that is not what the cache believes: its watch may be late, or dead."""
        metadata = subject["metadata"]
        found = self._api.find(path_of(resource, metadata["namespace"], metadata["name"]))
        if found is None or found["metadata"]["uid"] != metadata["uid"]:
            self._cache.remove(refer_to(resource, subject))
        if found is not None:
            self._remember(resource, found)

    def _remember(self, resource: Resource, item: Object) -> None:
        if resource in self._watched and (kept := take_in(resource, item)) is not None:
            self._cache.put(resource, kept)
