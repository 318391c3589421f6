"""Whether the apiserver would take an object, by the CRD that it would ask: schema, defaults and rules."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from customizer_operator.api.base import API_VERSION, Object, Resource
from customizer_operator.api.kinds import KINDS
from customizer_operator.cli.expressions import EvaluationError, holds, matches
from customizer_operator.cli.schema import Refusal, fill_in, find_mistakes, find_unknown
from customizer_operator.crds import build_crd

_TEXT: Object = {"type": "string"}
_TEXTS: Object = {"type": "object", "additionalProperties": _TEXT}
_METADATA: Object = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "generateName": _TEXT,
        "namespace": _TEXT,
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "finalizers": {"type": "array", "items": _TEXT},
        # Written by the apiserver; a manifest that was read from a cluster has them.
        **{
            name: {"x-kubernetes-preserve-unknown-fields": True}
            for name in (
                "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
                "ownerReferences", "resourceVersion", "selfLink", "uid",
            )
        },
    },
}  # fmt: skip
_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_TRANSITION = re.compile(r"\boldSelf\b")
"""In rules over a change; the apiserver does not ask them of a new object either."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the apiserver would say of a new object."""

    item: Object
    """As it would be stored."""
    refusals: tuple[Refusal, ...]
    status: Object | None = None
    """What it has brought from a cluster, which the apiserver would not look at."""


def find_kind(item: Object) -> type[Resource] | None:
    """Returns the kind of an object of ours, None for one of somebody else."""
    if item["apiVersion"] != API_VERSION:
        return None
    return next((kind for kind in KINDS if kind.names.kind == item["kind"]), None)


def admit(item: Object, kind: type[Resource]) -> Verdict:
    """Judges a new object. As with the apiserver, the status is ignored, and some mistakes hide others."""
    schema = _schema(kind)
    status = item.get("status")
    item = {key: value for key, value in item.items() if key != "status"}
    if unknown := tuple(find_unknown(item, schema)):
        return Verdict(item, unknown)
    stored = fill_in(item, schema)
    refusals = [*_check_name(stored), *find_mistakes(stored, schema)]
    if not any(refusal.blocks_rules for refusal in refusals):
        refusals += find_broken_rules(stored, schema)
    return Verdict(stored, tuple(refusals), status if isinstance(status, dict) else None)


def find_broken_rules(value: Any, schema: Object, path: str = "") -> Iterator[Refusal]:
    """Evaluates the rules over a value and over all that is in it."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if _TRANSITION.search(rule["rule"]):
            continue
        place = path + rule.get("fieldPath", "")
        try:
            if not holds(rule["rule"], self=value):
                yield Refusal(place, f"Invalid value: {rule['message']}")
        except EvaluationError as error:
            yield Refusal(place, f"Invalid value: rule evaluation error: {error}: {rule['rule']}")
    match value:
        case dict():
            others = schema.get("additionalProperties", {})
            for key, item in value.items():
                child = schema.get("properties", {}).get(key, others)
                yield from find_broken_rules(item, child, f"{path}.{key}" if path else key)
        case list():
            for index, item in enumerate(value):
                yield from find_broken_rules(item, schema.get("items", {}), f"{path}[{index}]")


def _check_name(item: Object) -> Iterator[Refusal]:
    metadata = item.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if name is None:
        yield Refusal("metadata.name", "Required value: name is required", blocks_rules=True)
    elif isinstance(name, str) and not matches(name, _SUBDOMAIN):
        words = "must consist of lower case alphanumeric characters, '-' or '.', and start and end with the former"
        yield Refusal("metadata.name", f'Invalid value: "{name}": {words}')


@cache
def _schema(kind: type[Resource]) -> Object:
    schema: Object = build_crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    properties = {key: value for key, value in schema["properties"].items() if key != "status"}
    own = schema["properties"]["metadata"]["properties"]
    metadata = {**_METADATA, "properties": {**_METADATA["properties"], **own}}
    return {**schema, "properties": {**properties, "metadata": metadata}}
