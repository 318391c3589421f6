"""Two real nodes on one machine: a containerd, a kubelet and a kube-proxy each, in the node's network namespace."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.cluster import containerd, pki, processes
from tests.cluster.console import wait_until
from tests.cluster.files import write, write_json
from tests.cluster.kubectl import Kubectl
from tests.cluster.settings import PREFIX, STATE, Cluster, Node

_CGROUPS = Path("/sys/fs/cgroup")
_GPU = "nvidia.com/gpu"


def start_runtime(node: Node, pause_image: str) -> None:
    """Starts the node's containerd on the images that it had before, or on those of the golden root."""
    name = f"containerd-{node.name}"
    if processes.is_running(name):
        return
    containerd.prepare(node.containerd_root)
    write_json(node.state / "cni" / "10-bridge.conflist", _pod_network(node))
    configuration = containerd.configure("containerd.toml", node.state, node.containerd_root, pause_image=pause_image)
    processes.start(name, "containerd", "--config", configuration, namespace=node.namespace)
    socket = node.containerd_socket
    wait_until(f"containerd of {node.name}", processes.require(name, lambda: containerd.is_serving(socket)), 60)


def start(node: Node, cluster: Cluster, programs: Path) -> None:
    """Starts the node's kubelet and kube-proxy."""
    _make_cgroup(_cgroup(node))
    write(node.state / "resolv.conf", "nameserver 127.0.0.1\n")
    write_json(node.state / "kubelet.json", _kubelet(node, cluster))
    write_json(node.state / "kube-proxy.json", _proxy(node, cluster))
    kubelet = (
        f"--config={node.state / 'kubelet.json'}",
        f"--kubeconfig={pki.KUBECONFIGS / node.name}",
        f"--root-dir={node.state / 'kubelet'}",
        f"--cert-dir={node.state / 'certificates'}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
    )
    proxy = f"--config={node.state / 'kube-proxy.json'}"
    processes.start(f"kubelet-{node.name}", programs / "kubelet", *kubelet, namespace=node.namespace)
    processes.start(f"kube-proxy-{node.name}", programs / "kube-proxy", proxy, namespace=node.namespace)


def describe(node: Node, kubectl: Kubectl) -> None:
    """Puts the labels and the GPUs of the settings on the node object.

    No device plugin runs, and the kubelet keeps a capacity that it does not own: pods that ask for a GPU are counted
    and admitted, and get no device.
    """
    wait_until(f"{node.name} to register", lambda: kubectl.answers("get", "node", node.name), 60)
    kubectl.run("label", "--overwrite", "node", node.name, *(f"{key}={value}" for key, value in node.labels.items()))
    resources = {_GPU: str(node.gpus)}
    status = json.dumps({"status": {"capacity": resources, "allocatable": resources}})
    kubectl.run("patch", "node", node.name, "--subresource=status", "--type=merge", f"--patch={status}")


def stop(nodes: tuple[Node, ...]) -> None:
    """Ends kubelets and proxies, then every container, then the runtimes."""
    processes.stop(*(f"{program}-{node.name}" for node in nodes for program in ("kubelet", "kube-proxy")))
    running = [node for node in nodes if processes.is_running(f"containerd-{node.name}")]
    for node in running:
        containerd.remove_containers(node.containerd_socket)
    processes.stop(*(f"containerd-{node.name}" for node in running))
    for node in running:
        containerd.retire(node.containerd_root)


def delete_leftovers() -> None:
    """Removes what kubelets and containers leave outside the state folder: control groups, links, CNI results."""
    for group in sorted(_groups(), key=lambda path: len(path.parts), reverse=True):
        with suppress(FileNotFoundError):
            group.rmdir()
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(STATE):
            link.unlink()
    for result in Path("/var/lib/cni/results").glob("*"):
        if f"{STATE}/" in result.read_text():
            result.unlink()


def _pod_network(node: Node) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": str(node.state / "addresses"),
        "ranges": [[{"subnet": f"{node.pod_prefix}.0/24"}]],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isDefaultGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": node.namespace, "plugins": [bridge]}


def _kubelet(node: Node, cluster: Cluster) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
        "address": node.address,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki.FOLDER / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki.FOLDER / f"{node.name}-serving.crt"),
        "tlsPrivateKeyFile": str(pki.FOLDER / f"{node.name}-serving.key"),
        "clusterDomain": "cluster.local",
        "clusterDNS": [cluster.dns_service],
        "resolvConf": str(node.state / "resolv.conf"),
        "podLogsDir": str(node.state / "logs"),
        "volumePluginDir": str(node.state / "plugins"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{_cgroup(node)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "imageGCHighThresholdPercent": 100,  # nothing could bring a deleted image back
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "5s",  # a changed Secret reaches its pods in seconds: webhooks wait for their certificates
    }


def _proxy(node: Node, cluster: Cluster) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": node.address,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "hostnameOverride": node.name,
        "clusterCIDR": cluster.pod_cidr,
        "detectLocalMode": "ClusterCIDR",
        "clientConnection": {"kubeconfig": str(pki.KUBECONFIGS / "kube-proxy")},
        "conntrack": {"maxPerCore": 0},
        "nodePortAddresses": [f"{node.address}/32"],
    }


def _cgroup(node: Node) -> str:
    return f"{PREFIX}-{node.name}"


def _make_cgroup(name: str) -> None:
    """Makes the kubelet's root group, in every hierarchy where the machine still has cgroup v1."""
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)
    for setting in ("cpuset.cpus", "cpuset.mems"):  # a v1 cpuset begins empty, and nothing runs in an empty one
        parent = _CGROUPS / "cpuset" / setting
        if parent.exists():
            (_CGROUPS / "cpuset" / name / setting).write_text(parent.read_text())


def _hierarchies() -> list[Path]:
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [entry for entry in _CGROUPS.iterdir() if entry.is_dir() and not entry.is_symlink()]


def _groups() -> Iterator[Path]:
    for hierarchy in _hierarchies():
        for top in hierarchy.glob(f"{PREFIX}-*"):
            yield top
            yield from (path for path in top.rglob("*") if path.is_dir())
