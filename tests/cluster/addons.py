"""What runs in the cluster: DNS, S3 and the training-operator from the start, Kueue when it is asked for."""

import shutil
from pathlib import Path

from tests.cluster import builds
from tests.cluster.commands import run
from tests.cluster.console import step, wait_until
from tests.cluster.files import remove_tree, write_json
from tests.cluster.kubectl import Kubectl
from tests.cluster.settings import HERE, STATE

_DEPLOYMENTS = (("kube-system", "coredns"), ("object-storage", "s3"), ("kubeflow", "training-operator"))


def apply(kubectl: Kubectl, components: str, own_dns: bool = True) -> None:
    """Applies every addon; the components image holds all their programs."""
    for name in ("coredns", "object-storage", "training-operator"):
        if name != "coredns" or own_dns:
            kubectl.apply(_prepare(name, components))


def install_kueue(kubectl: Kubectl, image: str) -> None:
    """Applies Kueue and waits until its webhooks answer."""
    with step("installing Kueue"):
        kubectl.apply(_prepare("kueue", image))
        manager = "deployment/kueue-controller-manager"
        kubectl.run("rollout", "status", "--namespace=kueue-system", manager, "--timeout=120s")
        # Ready is not yet serving: the pod makes its own certificate, and the kubelet takes seconds to mount it.
        probe = ("create", "--dry-run=server", "--filename", str(_flavor()))
        wait_until("Kueue's webhooks", lambda: kubectl.answers(*probe), 150, interval=0.5)


def wait(kubectl: Kubectl) -> None:
    """Waits until every addon is available and the training-operator's webhook answers."""
    for namespace, name in _DEPLOYMENTS:
        kubectl.run("rollout", "status", f"--namespace={namespace}", f"deployment/{name}", "--timeout=120s")
    # Available is not yet serving: the pod makes its own certificate, and the kubelet takes seconds to mount it.
    probe = ("create", "--dry-run=server", "--filename", str(_probe()))
    wait_until("the training-operator's webhook", lambda: kubectl.answers(*probe), 120, interval=0.3)


def _prepare(name: str, components: str) -> Path:
    """Copies an addon's kustomization to a folder of its own, where an image and upstream's bases are added."""
    folder = STATE / "manifests" / name
    remove_tree(folder)
    shutil.copytree(HERE / "manifests" / name, folder / "addon")
    if name == "training-operator":
        shutil.copytree(builds.module_folder(builds.TRAINING_OPERATOR) / "manifests", folder / "addon" / "upstream")
    if name == "kueue":
        shutil.copytree(builds.module_folder(builds.KUEUE) / "config", folder / "addon" / "upstream")
    run("chmod", "--recursive", "u+w", folder)
    repository, _, tag = components.rpartition(":")
    image = {"name": "components", "newName": repository, "newTag": tag}
    write_json(folder / "kustomization.yaml", {"resources": ["addon"], "images": [image]})
    return folder


def _flavor() -> Path:
    """Writes a ResourceFlavor that Kueue's webhook accepts."""
    flavor = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "probe"}}
    path = STATE / "manifests" / "flavor.json"
    write_json(path, flavor)
    return path


def _probe() -> Path:
    """Writes a PyTorchJob that the webhook accepts and nothing runs."""
    container = {"name": "pytorch", "image": "probe"}
    worker = {"replicas": 1, "template": {"spec": {"containers": [container]}}}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"pytorchReplicaSpecs": {"Worker": worker}},
    }
    path = STATE / "manifests" / "probe.json"
    write_json(path, job)
    return path
