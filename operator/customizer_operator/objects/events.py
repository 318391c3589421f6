"""Kubernetes events on objects of ours."""

import hashlib
import json
from datetime import datetime

from customizer_operator.api.base import FIELD_MANAGER, GROUP, Object
from customizer_operator.plan.plan import Event, Resource


def build_event(subject: Object, resource: Resource, event: Event, now: datetime) -> Object:
    """Builds an event under a name made from its content, so that the same one is written once."""
    metadata = subject["metadata"]
    digest = hashlib.sha256(
        json.dumps([metadata["uid"], event.reason, event.message, event.occasion]).encode()
    ).hexdigest()[:16]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": GROUP,
        "reportingInstance": FIELD_MANAGER,
        "action": "Reconcile",
        "reason": event.reason,
        "note": event.message[:1024],
        "type": event.type,
        "regarding": {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
    }
