"""The health checks are added to an Argo CD that is there already."""

from pathlib import Path

from tests.api.control_plane import ControlPlane

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
