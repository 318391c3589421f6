"""Image stores: a golden containerd root that images are unpacked into once, and hard-link clones of it for nodes."""

import io
import json
import shutil
import tarfile
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from string import Template
from typing import Any

from tests.cluster import oci, processes
from tests.cluster.commands import run, succeeds
from tests.cluster.console import wait_until
from tests.cluster.files import remove_tree, write
from tests.cluster.locks import exclusive
from tests.cluster.settings import CACHE, HERE, STATE

GOLDEN = CACHE / "containerd"
_GOLDEN_LOCK = CACHE / "containerd.lock"
_LARGE = 300_000_000
"""Bytes of a layer from which a clone of the golden root costs a node less than unpacking it."""
_LOADER = "image-loader"
_BLOBS = "io.containerd.content.v1.content/blobs/sha256"
_NAMESPACE = "k8s.io"
_IN_ORDER = "in-order"


def configure(template: str, state: Path, root: Path, **values: str) -> Path:
    """Writes a containerd configuration from a template and returns its path."""
    text = (HERE / "templates" / template).read_text()
    path = state / "containerd.toml"
    write(path, Template(text).substitute(values, state=state, root=root))
    return path


def is_serving(socket: Path) -> bool:
    """Whether a containerd answers on the socket."""
    return succeeds("ctr", "--address", socket, "version")


@contextmanager
def golden_store() -> Iterator[Path]:
    """Runs a containerd on the golden root and yields its socket; one user at a time."""
    state = STATE / _LOADER
    socket = state / "containerd.sock"
    with golden_lock():
        processes.start(_LOADER, "containerd", "--config", configure("loader.toml", state, GOLDEN))
        try:
            wait_until("containerd", processes.require(_LOADER, lambda: is_serving(socket)), 30)
            yield socket
        finally:
            processes.stop(_LOADER)


def golden_lock() -> AbstractContextManager[None]:
    """Keeps others from using the golden root, and its containerd from being started or ended by them."""
    return exclusive(_GOLDEN_LOCK)


def prepare(root: Path) -> None:
    """Gives a node its root: the one that its last run left in order, or else a clone of the golden one."""
    mark = root / _IN_ORDER
    if mark.exists() and not _lacks_large_layer(root):
        mark.unlink()
    else:
        _clone_golden(root)


def remove_containers(socket: Path) -> None:
    """Removes every container, so that images alone are left."""
    ctr = ("ctr", "--address", str(socket), "--namespace", _NAMESPACE)
    for task in run(*ctr, "tasks", "list", "--quiet").split():
        succeeds(*ctr, "tasks", "delete", "--force", task)
    if containers := run(*ctr, "containers", "list", "--quiet").split():
        run(*ctr, "containers", "delete", *containers)


def retire(root: Path) -> None:
    """Marks the root of a containerd that has ended, and that holds images alone, as good for another run."""
    (root / _IN_ORDER).touch()


def _lacks_large_layer(root: Path) -> bool:
    large = [blob for blob in (GOLDEN / _BLOBS).iterdir() if blob.stat().st_size >= _LARGE]
    return any(not (root / _BLOBS / blob.name).exists() for blob in large)


def _clone_golden(root: Path) -> None:
    """Fills a node's root from the golden one.

    Blobs and committed layers are never written in place, so hard links do; the databases are, so they are copied.
    """
    partial = root.with_name(f"{root.name}.partial")
    for leftover in (partial, root):
        remove_tree(leftover)
    root.parent.mkdir(parents=True, exist_ok=True)
    with golden_lock():
        run("cp", "--archive", "--link", GOLDEN, partial)
        for database in GOLDEN.rglob("*.db"):
            copy = partial / database.relative_to(GOLDEN)
            copy.unlink()
            shutil.copy2(database, copy)
    partial.rename(root)


def images(socket: Path) -> set[str]:
    """Returns the names of the images that the containerd behind the socket has."""
    return set(run("ctr", "--address", socket, "--namespace", _NAMESPACE, "images", "list", "--quiet").split())


def load(socket: Path, root: Path, reference: str) -> None:
    """Loads an image that was made; what costs time is unpacking the layers that no earlier image brought.

    Layers are linked into the store and not sent: containerd takes a blob that lies where it should for what its
    digest says. The archive that it imports holds the image's own two small documents alone: first so that the layers
    belong to something and are not collected as garbage, then to unpack them. The image gets its name when it is whole.
    """
    image = oci.find(reference)
    manifest = json.loads(oci.blob(image["digest"]).read_text())
    partial = f"{reference}-partial"
    archive = _archive(image, manifest["config"], partial)
    ctr = ("ctr", "--address", str(socket), "--namespace", _NAMESPACE)
    run(*ctr, "images", "import", "--no-unpack", "-", stdin=archive)
    for layer in manifest["layers"]:
        blob = oci.blob(layer["digest"])
        target = root / _BLOBS / blob.name
        if not target.exists():
            target.hardlink_to(blob)
        known = ("--expected-digest", layer["digest"], "--expected-size", str(layer["size"]))
        with blob.open("rb") as content:
            run(*ctr, "content", "ingest", *known, blob.name, stdin=content)
    run(*ctr, "images", "import", "-", stdin=archive)
    run(*ctr, "images", "tag", "--force", partial, reference)
    run(*ctr, "images", "remove", partial)


def forget(socket: Path, references: Collection[str]) -> None:
    """Removes images, and with them the layers that no other image uses."""
    if references:
        run("ctr", "--address", socket, "--namespace", _NAMESPACE, "images", "remove", "--sync", *references)


def _archive(image: dict[str, Any], configuration: dict[str, Any], name: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as entries:
        _add(entries, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        for part in (configuration, image):
            blob = oci.blob(part["digest"])
            _add(entries, f"blobs/sha256/{blob.name}", blob.read_bytes())
        named = {**image, "annotations": {"io.containerd.image.name": name}}
        _add(entries, "index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())
    return archive.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
