"""spec.deployment of a CustomizationJob: a ModelDeployment, created once and for good."""

from typing import Any

from customizer_operator.plan.plan import MODEL_DEPLOYMENT
from tests.support import samples
from tests.unit.operator.simulator import World

TEMPLATE = {"runtime": {"type": "VLLM"}, "replicas": 2}
PLACE = (MODEL_DEPLOYMENT, "tickets")


def trained(**spec: Any) -> World:
    """A job that has published."""
    world = World(samples.job("tickets", **spec))
    world.settle()
    world.pass_preflight(samples.passed())
    world.settle()
    first, _ = world.make_workers(1)
    world.run_pods(first)
    world.settle()
    assert PLACE not in world.objects
    world.end_pod(first, 0, samples.trained())
    world.settle()
    return world


def test_the_artifact_is_served_as_the_template_says() -> None:
    made = trained(deployment=TEMPLATE).objects[PLACE]
    assert made["spec"] == {"model": {"customizationJobRef": {"name": "tickets"}}, **TEMPLATE}
    assert "ownerReferences" not in made["metadata"]


def test_one_that_was_deleted_is_not_made_again() -> None:
    world = trained(deployment=TEMPLATE)
    assert world.status["deployment"] == "tickets"
    del world.objects[PLACE]
    world.settle()
    assert PLACE not in world.objects


def test_a_template_that_is_given_later_is_heeded() -> None:
    world = trained()
    assert PLACE not in world.objects
    world.set_spec(deployment=TEMPLATE)
    world.settle()
    assert PLACE in world.objects


def test_one_of_somebody_else_is_left_alone_and_told() -> None:
    world = trained()
    world.put(MODEL_DEPLOYMENT, {"metadata": {"name": "tickets", "namespace": "team", "labels": {}}})
    world.set_spec(deployment=TEMPLATE)
    world.run(60)
    assert "spec" not in world.objects[PLACE]
    assert "deployment" not in world.status
    assert "that is not of this job: delete it" in world.status["warnings"][-1]
    del world.objects[PLACE]
    world.run(60)
    assert world.status["deployment"] == "tickets"
    assert world.status["warnings"] == ["3 rows are duplicates"]
