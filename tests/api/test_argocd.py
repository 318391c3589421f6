"""Argo CD: the health checks join what is there already, and what it applies does not drift."""

from pathlib import Path

import pytest

from tests.api.control_plane import ControlPlane
from tests.api.test_model_deployment import deployment
from tests.api.world import Object, World
from tests.support import samples

MANIFESTS = Path(__file__).parents[2] / "manifests" / "argocd"
CONFIG = "/api/v1/namespaces/argocd/configmaps"


def test_the_health_checks_leave_the_rest_of_its_settings_alone(control_plane: ControlPlane) -> None:
    control_plane.call("POST", "/api/v1/namespaces", {"metadata": {"name": "argocd"}})
    there = {"url": "https://argocd.example.com", "resource.customizations.health.apps_Deployment": "return {}"}
    control_plane.call("POST", CONFIG, {"metadata": {"name": "argocd-cm"}, "data": there})
    control_plane.kubectl("apply", "--server-side", "-k", str(MANIFESTS))
    script = (MANIFESTS / "health.lua").read_text()
    keys = [f"resource.customizations.health.customizer.dev_{kind}" for kind in ("CustomizationJob", "ModelDeployment")]
    assert control_plane.call("GET", f"{CONFIG}/argocd-cm")["data"] == there | dict.fromkeys(keys, script)


@pytest.mark.usefixtures("operator")
def test_nothing_drifts_though_the_operator_and_another_hand_write_to_the_same_objects(world: World) -> None:
    job, server = samples.job(), deployment()
    world.apply("customizationjobs", job, "argocd-controller")
    world.apply("modeldeployments", server, "argocd-controller")
    world.pass_preflight("tickets", samples.passed())
    world.wait_for_condition("tickets", "DatasetReady")
    world.wait_for("jobs", "bot-verify")
    # Somebody else owns a field that Git does not have.
    world.apply("customizationjobs", {**job, "spec": {"suspend": True}}, "night-watch")
    world.wait_for_condition("tickets", "Suspended")

    def find() -> list[tuple[int, Object]]:
        items = [world.get("customizationjobs", "tickets"), world.get("modeldeployments", "bot")]
        return [(item["metadata"]["generation"], item["spec"]) for item in items if item is not None]

    before = find()
    # Neither a conflict nor a change.
    world.apply("customizationjobs", job, "argocd-controller")
    world.apply("modeldeployments", server, "argocd-controller")
    assert find() == before
    assert before[0][1]["suspend"] is True
    fields = (world.get("customizationjobs", "tickets") or {})["metadata"]["managedFields"]
    managers = {entry["manager"]: entry.get("subresource") for entry in fields}
    assert managers == {"argocd-controller": None, "night-watch": None, "customizer": "status"}
