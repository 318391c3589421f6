"""The same cluster in kind, where docker and kind exist. It has what the machine's own network has: a way out."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

from tests.cluster import addons, handle, images, nodes, status
from tests.cluster.commands import run, succeeds
from tests.cluster.console import step
from tests.cluster.oci import Recipe
from tests.cluster.settings import PREFIX, REPOSITORY, Cluster

_BASE = "python:3.11-slim-bookworm"
_WORKERS = (f"{PREFIX}-worker", f"{PREFIX}-worker2")
_NAMED = ("--name", PREFIX)


def is_available() -> bool:
    """Whether this machine has kind and a docker daemon that answers."""
    return shutil.which("kind") is not None and succeeds("docker", "info")


def up(cluster: Cluster) -> None:
    """Makes the cluster if there is none, and brings addons, labels and GPUs up to date."""
    if not is_running(cluster):
        with step("starting kind"):
            run("kind", "create", "cluster", "--config", REPOSITORY / "kind-config.yaml", "--wait", "120s")
    process = run("docker", "inspect", "--format={{.State.Pid}}", f"{PREFIX}-control-plane").strip()
    # Inside the control plane's own network the server answers under the one address that every certificate names.
    kubeconfig = re.sub("server: .*", "server: https://127.0.0.1:6443", run("kind", "get", "kubeconfig", *_NAMED))
    kubectl = handle.create(kubeconfig, Path(f"/proc/{process}/ns/net"), cluster.dns_service)
    components = images.components()
    _load([components])
    addons.apply(kubectl, components.reference, own_dns=False)
    for node in _renamed(cluster).nodes:
        nodes.describe(node, kubectl)
    addons.wait(kubectl)


def down(cluster: Cluster) -> None:
    """Deletes the cluster."""
    run("kind", "delete", "cluster", *_NAMED)
    handle.delete()


def is_running(cluster: Cluster) -> bool:
    """Whether kind has the cluster."""
    return PREFIX in run("kind", "get", "clusters").split()


def publish(cluster: Cluster) -> None:
    """Builds the images with docker, which knows what changed, and loads them."""
    with images.snapshot() as tree:
        recipes = images.recipes(_BASE, tree)
        _load(list(recipes.values()))
    handle.write_images({name: recipe.reference for name, recipe in recipes.items()})


def queue(cluster: Cluster) -> None:
    """Installs Kueue beside what runs from the start."""
    recipe = images.kueue()
    _load([recipe])
    addons.install_kueue(handle.kubectl(), recipe.reference)


def check(cluster: Cluster) -> bool:
    """Tries what the cluster promises, under kind's names for the nodes."""
    return status.check(_renamed(cluster), confined=False)


def _load(recipes: list[Recipe]) -> None:
    for recipe in recipes:
        _build(recipe)
        with step(f"loading {recipe.reference}"):
            run("kind", "load", "docker-image", *_NAMED, recipe.reference)


def _build(recipe: Recipe) -> None:
    if recipe.after:
        _build(recipe.after)
    with step(f"building {recipe.reference}"):
        run("docker", "build", *recipe.options(), recipe.context)


def _renamed(cluster: Cluster) -> Cluster:
    pairs = zip(cluster.nodes, _WORKERS, strict=True)
    return replace(cluster, nodes=tuple(replace(node, name=name) for node, name in pairs))
