"""Installs the operator in the local cluster, as its overlay says, with the images that this clone's sources make."""

from tests.cluster import handle
from tests.cluster.console import step
from tests.cluster.files import write_json
from tests.cluster.settings import HANDLE

_NAME = "customizer-operator"
_NAMESPACE = "customizer-system"
_VARIABLES = {
    "CUSTOMIZER_IO_IMAGE": "io",
    "CUSTOMIZER_AUTOMODEL_IMAGE": "automodel",
    "CUSTOMIZER_UNSLOTH_IMAGE": "unsloth",
    "CUSTOMIZER_VLLM_IMAGE": "engine",
    "CUSTOMIZER_MULTI_LLM_IMAGE": "engine",
}
"""Images by the setting that names them."""


def deploy() -> None:
    """Applies manifests/overlays/local and waits until the operator is ready."""
    images = handle.images()
    if not images:
        raise RuntimeError("there are no images; run `make images`")
    kubectl = handle.kubectl()
    repository, _, tag = images["operator"].rpartition(":")
    environment = [{"name": variable, "value": images[image]} for variable, image in _VARIABLES.items()]
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _NAME, "namespace": _NAMESPACE},
        "spec": {"template": {"spec": {"containers": [{"name": "operator", "env": environment}]}}},
    }
    folder = HANDLE / "operator"
    write_json(folder / "patch.json", patch)
    kustomization = {
        "resources": ["../../manifests/overlays/local"],
        "images": [{"name": _NAME, "newName": repository, "newTag": tag}],
        "patches": [{"path": "patch.json"}],
    }
    write_json(folder / "kustomization.yaml", kustomization)
    with step("deploying the operator"):
        kubectl.apply(folder)
        deployment = f"deployment/{_NAME}"
        kubectl.run("rollout", "status", f"--namespace={_NAMESPACE}", deployment, "--timeout=120s")
