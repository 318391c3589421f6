"""Brings the images to the nodes: built with buildah, unpacked once, cloned or sent in small pieces."""

from collections.abc import Iterable
from pathlib import Path

from tests.cluster import base, containerd, handle, images, oci, packages
from tests.cluster.console import say, step
from tests.cluster.settings import REPOSITORY, Node


def publish() -> list[str]:
    """Builds the project's images where inputs changed, unpacks them where `up` finds them, and lists them."""
    with images.snapshot() as tree:
        recipes = images.recipes(base.image(), tree)
        references = [oci.make(recipe) for recipe in recipes.values()]
    unpack(references)
    handle.write_images({name: recipe.reference for name, recipe in recipes.items()})
    return references


def prune() -> None:
    """Removes images of earlier sources where they were built and unpacked; nodes keep theirs until they are cloned."""
    under = base.image()
    recipes = images.recipes(under, REPOSITORY).values()
    built_on = [recipe.after.reference for recipe in recipes if recipe.after]
    left = oci.prune([under, *built_on, *(recipe.reference for recipe in recipes)])
    with containerd.golden_store() as socket:
        containerd.forget(socket, containerd.images(socket) - left)


def publish_components() -> str:
    """Builds and unpacks the image that the cluster cannot start without."""
    reference = oci.make(images.components())
    unpack([reference])
    return reference


def publish_kueue() -> str:
    """Builds and unpacks Kueue's image."""
    reference = oci.make(images.kueue())
    unpack([reference])
    return reference


def unpack(references: Iterable[str]) -> None:
    """Unpacks images into the golden root, which `up` clones for each node."""
    packages.require(*packages.CLUSTER)
    with containerd.golden_store() as socket:
        _load(socket, containerd.GOLDEN, references, "clones")


def send(references: Iterable[str], nodes: Iterable[Node]) -> None:
    """Sends images to nodes that already run; only layers that a node lacks travel."""
    for node in nodes:
        _load(node.containerd_socket, node.containerd_root, references, node.name)


def _load(socket: Path, root: Path, references: Iterable[str], where: str) -> None:
    present = containerd.images(socket)
    for reference in sorted(set(references) - present):
        if not oci.is_made(reference):
            say(f"{reference} was forgotten; `make images` builds it again")
        else:
            with step(f"unpacking {reference} for {where}"):
                containerd.load(socket, root, reference)
