"""Brings the cluster up and takes it down; both may be killed at any point and run again."""

from pathlib import Path

from tests.cluster import (
    addons,
    builds,
    containerd,
    controlplane,
    handle,
    network,
    nodes,
    packages,
    pki,
    processes,
    status,
    store,
)
from tests.cluster.commands import run
from tests.cluster.console import step
from tests.cluster.files import remove_tree
from tests.cluster.locks import exclusive
from tests.cluster.settings import STATE, Cluster

_LOCK = STATE.with_name(f"{STATE.name}.lock")


def up(cluster: Cluster) -> None:
    """Starts what is not running, from nothing or after a part of it died, and waits until all of it answers."""
    packages.require(*packages.CLUSTER)
    programs = builds.build_all()
    components = store.publish_components()
    with exclusive(_LOCK), step("starting the cluster"):
        if not is_running(cluster):
            _clear(cluster)
        pki.create(cluster)
        network.create(cluster)
        admin = (pki.KUBECONFIGS / "admin").read_text()
        kubectl = handle.create(admin, network.path(cluster.control_plane), cluster.dns_service, programs)
        controlplane.start(cluster, programs)
        with step("runtimes of the nodes"):
            for node in cluster.nodes:
                nodes.start_runtime(node, components)
            store.send([components, *handle.images().values()], cluster.nodes)
        with step("control plane"):
            controlplane.finish(cluster, programs, kubectl)
        for node in cluster.nodes:
            nodes.start(node, cluster, programs)
        with step("nodes and addons"):
            addons.apply(kubectl, components)
            for node in cluster.nodes:
                nodes.describe(node, kubectl)
            kubectl.run("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")
            addons.wait(kubectl)


def down(cluster: Cluster) -> None:
    """Ends every process of the cluster and removes its mounts, namespaces, interfaces, control groups and state."""
    with exclusive(_LOCK), step("taking the cluster down"):
        _clear(cluster)
        handle.delete()


def publish(cluster: Cluster) -> None:
    """Builds the images whose inputs changed, and sends them to the nodes if these run."""
    references = store.publish()
    if is_running(cluster):
        store.send(references, cluster.nodes)
    store.prune()


def queue(cluster: Cluster) -> None:
    """Installs Kueue beside what runs from the start."""
    reference = store.publish_kueue()
    store.send([reference], cluster.nodes)
    addons.install_kueue(handle.kubectl(), reference)


def check(cluster: Cluster) -> bool:
    """Tries what the cluster promises."""
    return status.check(cluster, confined=True)


def is_running(cluster: Cluster) -> bool:
    """Whether the programs that hold the cluster's state are alive, so that the rest can be started beside them."""
    runtimes = [f"containerd-{node.name}" for node in cluster.nodes]
    return all(processes.is_running(name) for name in ("etcd", *runtimes))


def _clear(cluster: Cluster) -> None:
    nodes.stop(cluster.nodes)
    controlplane.stop()
    with containerd.golden_lock():  # what loads images carries the cluster's mark, too
        processes.stop_all()
        _unmount(STATE)
        nodes.delete_leftovers()
        network.delete()
        remove_tree(STATE)


def _unmount(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if Path(mount).is_relative_to(folder)]):
        run("umount", "--lazy", mount)
