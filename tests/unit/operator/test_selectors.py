"""What is listed and watched: all that the operator makes passes the selectors, and so do the pods of it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from customizer_operator.kinds import build_kinds
from customizer_operator.plan.plan import (
    CUSTOMIZATION_JOB,
    DEPLOYMENT,
    JOB,
    MODEL_DEPLOYMENT,
    NIM_SERVICE,
    POD,
    PYTORCH_JOB,
    SERVICE,
    Resource,
)
from customizer_operator.selectors import find_selector
from tests.support import samples
from tests.unit.operator import simulator
from tests.unit.serving import world as serving

WATCHED = {child for kind in build_kinds(simulator.SETTINGS) for child in kind.children}


def passes(resource: Resource, labels: dict[str, str]) -> bool:
    """Matches as the apiserver does: `label=value`, `label in (values)`, `label`."""
    selector = find_selector(resource)
    assert selector is not None
    match = re.fullmatch(r"(?P<label>[\w./-]+)(=(?P<value>[\w-]+)| in \((?P<values>[\w,-]+)\))?", selector)
    assert match is not None, selector
    values = (match["value"] or match["values"] or "").split(",")
    return match["label"] in labels and (values == [""] or labels[match["label"]] in values)


def find_labels(resource: Resource, item: Any) -> Iterator[tuple[Resource, dict[str, str]]]:
    """Yields the labels of an object, and those of the pods that are made from it."""
    if resource in WATCHED:
        yield resource, item["metadata"]["labels"]
    spec = item.get("spec", {})
    if resource == PYTORCH_JOB:
        yield POD, spec["pytorchReplicaSpecs"]["Worker"]["template"]["metadata"]["labels"]
    elif resource == NIM_SERVICE:
        # Its controller puts these on all that it makes.
        yield from ((made, spec["labels"]) for made in (DEPLOYMENT, SERVICE, POD))
    elif "template" in spec:
        yield POD, spec["template"]["metadata"]["labels"]


def test_all_of_a_job_passes() -> None:
    world = simulator.World(samples.job())
    world.settle()
    world.pass_preflight(samples.passed())
    world.settle()
    made = {place[0] for place in world.objects}
    assert {JOB, PYTORCH_JOB, POD} <= made
    for (resource, _), item in world.objects.items():
        assert all(passes(*labels) for labels in find_labels(resource, item))


@pytest.mark.parametrize("backend", ["Deployment", "NIMService"])
def test_all_of_a_deployment_passes(backend: str) -> None:
    runtime = {"type": "MultiLLM"} if backend == "NIMService" else {"type": "VLLM"}
    deployment = serving.build_deployment(backend=backend, runtime=runtime, ingress={"host": "bot.test"})
    world = serving.World(deployment, serving.publish(serving.MODEL), serving.MODEL, listed=["tickets"])
    assert world.settle()["state"] == "Ready"
    made = {place[0] for place in world.objects}
    assert {JOB, POD, NIM_SERVICE if backend == "NIMService" else DEPLOYMENT} <= made
    for (resource, _), item in world.objects.items():
        assert all(passes(*labels) for labels in find_labels(resource, item)), resource


def test_what_others_make_stays_out() -> None:
    labels = {"app.kubernetes.io/component": "database", "app.kubernetes.io/managed-by": "Helm"}
    assert not any(passes(resource, labels) for resource in WATCHED)


def test_all_objects_of_our_own_kinds_are_watched() -> None:
    assert find_selector(CUSTOMIZATION_JOB) is None
    assert find_selector(MODEL_DEPLOYMENT) is None
