"""The folder .cluster: how people and tests reach the cluster, be it ours or kind's."""

import json
from pathlib import Path

from tests.cluster.files import write, write_json
from tests.cluster.kubectl import Kubectl
from tests.cluster.settings import HANDLE, HERE

RUN = HANDLE / "run"
_IMAGES = HANDLE / "images.json"
_KUBECONFIG = HANDLE / "kubeconfig"
_RESOLVER = HANDLE / "resolv.conf"


def create(kubeconfig: str, network: Path, dns_service: str, programs: Path | None = None) -> Kubectl:
    """Writes `run` for a cluster that can be reached in a network namespace, and returns its kubectl."""
    search = "default.svc.cluster.local svc.cluster.local cluster.local"
    write(_RESOLVER, f"nameserver {dns_service}\nsearch {search}\noptions ndots:5 timeout:2\n")
    write(_KUBECONFIG, kubeconfig, mode=0o600)
    script = (HERE / "templates" / "run.sh").read_text()
    values = {
        "@KUBECONFIG@": _KUBECONFIG,
        "@NETWORK@": network,
        "@PROGRAMS@": programs or "/usr/local/bin",
        "@RESOLVER@": _RESOLVER,
    }
    for name, value in values.items():
        script = script.replace(name, str(value))
    write(RUN, script, mode=0o755)
    return kubectl()


def kubectl() -> Kubectl:
    """Returns a kubectl that reaches the cluster, with all rights."""
    if not RUN.exists():
        raise RuntimeError("there is no cluster; run `make up`")
    return Kubectl((str(RUN), "kubectl"))


def delete() -> None:
    """Removes what only a running cluster makes true; the list of built images stays."""
    for path in (RUN, _KUBECONFIG, _RESOLVER):
        path.unlink(missing_ok=True)


def images() -> dict[str, str]:
    """Returns the images of this clone by name, none before `make images`."""
    return dict(json.loads(_IMAGES.read_text())) if _IMAGES.exists() else {}


def write_images(references: dict[str, str]) -> None:
    """Writes the list of images that this clone's sources make."""
    write_json(_IMAGES, references)
