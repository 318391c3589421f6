"""One network namespace per node, joined by a bridge in a third: no default route anywhere, so nothing can leave."""

import shutil
from itertools import permutations
from pathlib import Path

from tests.cluster.commands import run, succeeds
from tests.cluster.settings import PREFIX, Cluster, Node

_SWITCH = f"{PREFIX}-switch"
_NAMESPACES = Path("/run/netns")


def create(cluster: Cluster) -> None:
    """Makes the network, anew if what is there is only a part of it."""
    wanted = {_SWITCH, *(node.namespace for node in cluster.nodes)}
    if wanted == set(_ours()) and all(_is_complete(node) for node in cluster.nodes):
        return
    delete()
    if shutil.which("modprobe"):  # a kernel without modules has these built in
        succeeds("modprobe", "--all", "br_netfilter", "overlay", "veth")
    _batch(None, [f"netns add {name}" for name in sorted(wanted)])
    ports = [f"link add {node.name} type veth peer name eth0 netns {node.namespace}" for node in cluster.nodes]
    joined = [f"link set {node.name} master switch up" for node in cluster.nodes]
    _batch(_SWITCH, ["link set lo up", "link add switch type bridge", "link set switch up", *ports, *joined])
    for node in cluster.nodes:
        _connect(node, cluster)
    for node, other in permutations(cluster.nodes, 2):
        _batch(node.namespace, [f"route add {other.pod_prefix}.0/24 via {other.address}"])
    for node in cluster.nodes:
        _batch(node.namespace, ["link set lo alias complete"])


def delete() -> None:
    """Removes the namespaces of this cluster and with them every interface and route in them."""
    for name in _ours():
        run("ip", "netns", "del", name)


def path(node: Node) -> Path:
    """Returns the file that stands for the node's network namespace."""
    return _NAMESPACES / node.namespace


def _connect(node: Node, cluster: Cluster) -> None:
    commands = [
        "link set lo up",
        f"addr add {node.address}/24 dev eth0",
        "link set eth0 up",
        # The CNI plugin would make this bridge too, but without an address before the first pod.
        "link add cni0 type bridge",
        f"addr add {node.pod_prefix}.1/24 dev cni0",
        "link set cni0 up",
        # A ClusterIP needs some route for the first look-up to succeed; kube-proxy rewrites the destination after it.
        f"route add {cluster.service_cidr} dev eth0 src {node.address}",
    ]
    _batch(node.namespace, commands)
    settings = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables"
    run("nsenter", f"--net={path(node)}", "sh", "-c", settings)


def _is_complete(node: Node) -> bool:
    return "complete" in run("ip", "-n", node.namespace, "link", "show", "lo")


def _ours() -> list[str]:
    if not _NAMESPACES.is_dir():
        return []
    return [entry.name for entry in _NAMESPACES.iterdir() if entry.name.startswith(f"{PREFIX}-")]


def _batch(namespace: str | None, commands: list[str]) -> None:
    where = ("-n", namespace) if namespace else ()
    run("ip", *where, "-batch", "-", stdin="\n".join(commands))
