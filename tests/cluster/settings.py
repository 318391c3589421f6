"""Where everything is, and the shape of the cluster: read once, from cluster.toml and the environment."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "customizer"
"""What can be made again, keyed by content and shared by every clone: binaries, environments, image layers."""

STATE = Path(os.environ.get("CUSTOMIZER_CLUSTER_STATE", "/var/lib/customizer-cluster"))
"""What the running cluster writes. Short, since the path of a unix socket ends at 107 characters.

Another folder makes another cluster: two clones can each run their own at the same time.
"""

HANDLE = REPOSITORY / ".cluster"
"""What people and tests use: `run`, `kubeconfig`, `images.json`."""

PREFIX = STATE.name.removesuffix("-cluster")
"""Begins the name of every network namespace and control group, so that `down` knows its own."""

API_PORT = 6443
S3_ENDPOINT = "http://s3.object-storage.svc.cluster.local:7070"


@dataclass(frozen=True, slots=True)
class Node:
    """One real node: a network namespace with its own containerd, kubelet and kube-proxy."""

    name: str
    gpus: int
    labels: dict[str, str]
    address: str
    pod_prefix: str

    @property
    def namespace(self) -> str:
        return f"{PREFIX}-{self.name}"

    @property
    def state(self) -> Path:
        return STATE / self.name

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        """Lies in the cache, on the file system of the golden root, because it is made of hard links to that."""
        return CACHE / "nodes" / PREFIX / self.name


@dataclass(frozen=True, slots=True)
class Cluster:
    """The whole cluster as cluster.toml describes it."""

    nodes: tuple[Node, ...]
    pod_cidr: str
    service_cidr: str
    api_service: str
    dns_service: str

    @property
    def control_plane(self) -> Node:
        return self.nodes[0]

    @property
    def server(self) -> str:
        return f"https://{self.control_plane.address}:{API_PORT}"


def load(path: Path = HERE / "cluster.toml") -> Cluster:
    """Reads the shape of the cluster."""
    document = tomllib.loads(path.read_text())
    network = document["network"]
    nodes = tuple(
        Node(
            name=entry["name"],
            gpus=entry["gpus"],
            labels=entry["labels"],
            address=f"{network['node_prefix']}.{number}",
            pod_prefix=f"{network['pod_prefix']}.{76 + number}",
        )
        for number, entry in enumerate(document["nodes"], start=1)
    )
    return Cluster(
        nodes=nodes,
        pod_cidr=network["pod_cidr"],
        service_cidr=network["service_cidr"],
        api_service=network["api_service"],
        dns_service=network["dns_service"],
    )
