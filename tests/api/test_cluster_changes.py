"""A cluster that changes under a running operator: training-operator comes later, the CRDs are of another release."""

import copy
import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.conftest import ROOT, Operator
from tests.api.control_plane import ApiRefusedError, ControlPlane
from tests.api.test_rights import Right, read_requests
from tests.api.world import Object, World
from tests.support import samples

_PATIENCE = 90
"""Seconds for what no watch may tell: it is listed and asked for now and then."""


LATER = (
    ("spec", "failurePolicy", "hungAfterSeconds"),
    ("spec", "planOnly"),
    ("status", "placement"),
    ("status", "plan", "packSize"),
    ("status", "plan", "transfers"),
    ("status", "report"),
)
"""Fields that an earlier release did not have."""


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An apiserver that does not know PyTorchJobs."""
    with ControlPlane(tmp_path_factory.mktemp("bare")) as plane:
        plane.install(ROOT / "manifests/base", "-k")
        yield plane


@pytest.mark.usefixtures("operator")
def test_a_job_waits_for_training_operator_and_goes_on_without_a_restart(
    world: World, operator: Operator, control_plane: ControlPlane, pytorchjob_crd: Path
) -> None:
    world.create("customizationjobs", samples.job())
    world.pass_preflight("tickets", samples.passed())
    condition = world.wait_for_condition("tickets", "Stalled", reason="TrainingOperatorMissing")
    assert "install Kubeflow's training-operator" in condition["message"]

    control_plane.install(pytorchjob_crd)
    world.wait("attempt 1", lambda: world.get("pytorchjobs", "tickets-a1"), patience=_PATIENCE)
    first, second = world.make_workers("tickets-a1")
    for pod in (first, second):
        world.run_pod(pod)
    world.wait_for_condition("tickets", "Running")
    world.set_training_job("tickets-a1", "Failed")
    world.end_pod(first, 1)
    world.end_pod(second, 1)
    world.wait("attempt 2", lambda: world.get("pytorchjobs", "tickets-a2"), patience=_PATIENCE)
    assert operator.is_running()


def read_crds() -> list[Object]:
    """The CRDs of this release."""
    return [
        yaml.safe_load((ROOT / "crds" / f"{plural}.yaml").read_text())
        for plural in ("customizationjobs", "modeldeployments")
    ]


def make_earlier(crd: Object) -> Object:
    """A CRD as an earlier release had it: fewer fields, columns and rules, and a field that has gone since."""
    crd = copy.deepcopy(crd)
    [version] = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    version["additionalPrinterColumns"] = version["additionalPrinterColumns"][:2]
    _strip_rules(schema)
    schema["properties"]["spec"]["properties"]["tier"] = {"type": "string"}
    for path in LATER if crd["spec"]["names"]["kind"] == "CustomizationJob" else ():
        place = schema
        for name in path[:-1]:
            place = place["properties"][name]
        del place["properties"][path[-1]]
        if path[-1] in place.get("default", {}):
            del place["default"][path[-1]]
    return crd


def _strip_rules(schema: Any) -> None:
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _strip_rules(part)
    if isinstance(schema, dict):
        schema.pop("x-kubernetes-validations", None)


def make_later(crd: Object, **schema: Any) -> Object:
    """A CRD as a later release may have it: with a field that this one does not know."""
    crd = copy.deepcopy(crd)
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["tempo"] = {"type": "string", "enum": ["andante", "presto"], **schema}
    return crd


def apply(plane: ControlPlane, crds: list[Object]) -> None:
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": crds})
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=items)
    plane.wait_for_crds()


def test_objects_outlive_an_upgrade_and_the_operator_lives_with_crds_of_the_release_before(
    world: World, start_operator: Callable[..., Operator], control_plane: ControlPlane
) -> None:
    # No watch has to tell that objects read otherwise since their CRD has changed; the next list does.
    operator = start_operator(CUSTOMIZER_RESYNC_SECONDS="3")
    apply(control_plane, [make_earlier(crd) for crd in read_crds()])
    world.wait("the field", lambda: _is_taken(world, samples.job("gilded", tier="gold")))
    world.create("customizationjobs", samples.job())
    odd = samples.job("odd", automodel={"parallelism": {"numNodes": 2, "tensorParallelSize": 3}})
    world.create("customizationjobs", odd)  # the rule that refuses it came later
    world.pass_preflight("tickets", samples.passed())
    pods = world.make_workers("tickets-a1")
    for pod in pods:
        world.run_pod(pod)
    world.wait_for_condition("tickets", "Running")
    assert "numNodes * numGpusPerNode" in world.wait_for_condition("odd", "Failed")["message"]
    # Failed, unless a watch from before has told of it without the field, so that it has begun.
    assert "tier" in world.wait_for_condition("gilded", "Stalled", reason="InvalidSpec")["message"]
    before = _describe(world)
    assert "transfers" not in before["tickets"]["status"]["plan"]

    control_plane.install(ROOT / "manifests/base", "-k")
    after = _describe(world)
    assert {name: item["metadata"]["uid"] for name, item in after.items()} == {
        name: item["metadata"]["uid"] for name, item in before.items()
    }
    assert after["odd"]["spec"]["automodel"]["parallelism"]["tensorParallelSize"] == 3
    assert "GPUS" in control_plane.kubectl("get", "cjob", "-n", world.namespace)
    world.end_pod(pods[1], 0)
    world.end_pod(pods[0], 0, samples.trained())
    world.wait_for_condition("tickets", "Complete")
    status = (world.get("customizationjobs", "tickets") or {})["status"]
    assert status["report"]["summary"]
    # The field that has gone is not served any more, so that its job goes on.
    world.wait("preflight", lambda: world.get("jobs", "gilded-preflight"))
    world.delete("customizationjobs", "odd")
    assert operator.is_running()


def test_a_field_of_a_later_release_fails_the_job_that_has_it_and_no_other(
    world: World, operator: Operator, control_plane: ControlPlane
) -> None:
    world.create("customizationjobs", samples.job("before"))
    world.wait("preflight", lambda: world.get("jobs", "before-preflight"))
    told = control_plane.audit.stat().st_size
    apply(control_plane, [make_later(crd) for crd in read_crds()])
    watch = Right("watch", "customizer.dev", "customizationjobs")
    # Watches from before go on for a while, and leave out what the CRD did not have then.
    world.wait("a new watch", lambda: watch in {request.right for request in read_requests(control_plane.audit, told)})
    world.wait("the field", lambda: _is_taken(world, samples.job("later", tempo="presto")))
    condition = world.wait_for_condition("later", "Failed", reason="InvalidSpec")
    assert "tempo" in condition["message"]
    assert "Install CRDs and operator of the same release" in condition["message"]
    world.create("customizationjobs", samples.job())
    world.wait("preflight", lambda: world.get("jobs", "tickets-preflight"))
    assert operator.is_running()


def test_a_job_that_runs_is_not_given_up_while_it_has_a_field_of_a_later_release(
    world: World, start_operator: Callable[..., Operator], control_plane: ControlPlane
) -> None:
    control_plane.install(ROOT / "manifests/base", "-k")
    # Nobody tells that an object reads otherwise now.
    operator = start_operator(CUSTOMIZER_RESYNC_SECONDS="3")
    world.create("customizationjobs", samples.job())
    world.pass_preflight("tickets", samples.passed())
    pods = world.make_workers("tickets-a1")
    for pod in pods:
        world.run_pod(pod)
    world.wait_for_condition("tickets", "Running")

    apply(control_plane, [make_later(crd, default="andante") for crd in read_crds()])
    condition = world.wait_for_condition("tickets", "Stalled", reason="InvalidSpec", patience=_PATIENCE)
    assert "tempo" in condition["message"]
    conditions = _describe(world)["tickets"]["status"]["conditions"]
    holds = {entry["type"]: entry["status"] for entry in conditions}
    assert (holds["Failed"], holds["Running"]) == ("False", "True")
    world.end_pod(pods[1], 0)
    world.end_pod(pods[0], 0, samples.trained())

    control_plane.install(ROOT / "manifests/base", "-k")
    world.wait_for_condition("tickets", "Complete", patience=_PATIENCE)
    assert len(world.all("pytorchjobs")) == 1
    assert operator.is_running()


def _is_taken(world: World, job: Object) -> Object | None:
    """Creates a job as soon as the apiserver knows all of its fields."""
    try:
        return world.create("customizationjobs", job)
    except ApiRefusedError as refusal:
        if "unknown field" not in refusal.message:
            raise
        return None


def _describe(world: World) -> dict[str, Object]:
    """Returns the jobs by name, as soon as the apiserver serves them again."""

    def find() -> list[Object] | None:
        try:
            return world.all("customizationjobs")
        except ApiRefusedError as refusal:
            if refusal.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise
            return None

    return {item["metadata"]["name"]: item for item in world.wait("the jobs", find)}
