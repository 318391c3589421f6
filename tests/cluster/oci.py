"""Builds images with buildah, straight from Dockerfiles, into OCI layouts that share their layers."""

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster import packages
from tests.cluster.commands import run
from tests.cluster.console import step
from tests.cluster.files import make_once, remove_tree
from tests.cluster.locks import exclusive
from tests.cluster.settings import CACHE

_LAYOUTS = CACHE / "oci"
_BLOBS = _LAYOUTS / "blobs"
_KEPT = 3
"""How many images of a name stay: enough to go back and forth between changes without building anew."""
_NAME = "reference"
_LAYOUTS_LOCK = CACHE / "oci.lock"
_STORE = CACHE / "buildah"
_BUILDAH_LOCK = CACHE / "buildah.lock"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image: a target of a Dockerfile, under a name that changes whenever the image would."""

    reference: str
    dockerfile: Path
    context: Path
    target: str | None = None
    arguments: dict[str, str] = field(default_factory=dict)
    after: "Recipe | None" = None
    """An image that this one is built on, and that nothing runs."""

    def options(self) -> list[str]:
        """Returns the options that `docker build` and `buildah build` have in common."""
        target = [f"--target={self.target}"] if self.target else []
        arguments = [f"--build-arg={name}={value}" for name, value in self.arguments.items()]
        return [f"--file={self.dockerfile}", f"--tag={self.reference}", *target, *arguments]


def make(recipe: Recipe) -> str:
    """Returns an image's name, after building it into a layout if it is not there."""

    def fill(layout: Path) -> None:
        build(recipe)
        with step(f"exporting {recipe.reference}"):
            _export(recipe.reference, layout)

    with exclusive(_LAYOUTS_LOCK):
        os.utime(make_once(_layout(recipe.reference), fill))
    return recipe.reference


def is_made(reference: str) -> bool:
    """Whether an image was made, and was not pruned since."""
    return _layout(reference).is_dir()


def find(reference: str) -> dict[str, Any]:
    """Returns the descriptor of an image that was made."""
    index = json.loads((_layout(reference) / "index.json").read_text())
    return dict(index["manifests"][0])


def blob(digest: str) -> Path:
    """Returns the file with a manifest, a configuration or a layer."""
    return _BLOBS / digest.replace(":", "/")


def build(recipe: Recipe) -> None:
    """Builds an image unless it is stored; unchanged steps of the Dockerfile come from buildah's cache."""
    if is_stored(recipe.reference):
        return
    if recipe.after:
        build(recipe.after)
    with exclusive(_BUILDAH_LOCK), step(f"building {recipe.reference}"):
        _buildah(
            *("build", "--layers", "--pull=never", "--isolation=chroot", "--network=host"),
            *recipe.options(),
            # Whoever answers for the package registries here signs with what this machine trusts.
            f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro",
            recipe.context,
        )


def prune(wanted: Collection[str]) -> set[str]:
    """Removes images that are neither wanted nor among the newest of their name; returns those that are left."""
    with exclusive(_LAYOUTS_LOCK):
        left = _prune_layouts(wanted)
    with exclusive(_BUILDAH_LOCK):
        stored = _buildah("images", "--format", "{{.Name}}:{{.Tag}}", "--filter", "dangling=false").split()
        if unwanted := [name for name in stored if name not in {*wanted, *left}]:
            _buildah("rmi", *unwanted)
    return left


def _prune_layouts(wanted: Collection[str]) -> set[str]:
    layouts = [path.parent for path in _LAYOUTS.glob(f"*/{_NAME}") if path.parent.suffix != ".partial"]
    left: list[str] = []
    for layout in sorted(layouts, key=lambda layout: layout.stat().st_mtime, reverse=True):
        reference = (layout / _NAME).read_text()
        siblings = [other for other in left if _repository(other) == _repository(reference)]
        if reference in wanted or len(siblings) < _KEPT:
            left.append(reference)
        else:
            remove_tree(layout)
    used = {name for reference in left for name in _blobs_of(reference)}
    for path in (_BLOBS / "sha256").iterdir():
        if path.name not in used:
            path.unlink()
    return set(left)


def _blobs_of(reference: str) -> Iterator[str]:
    image = find(reference)
    manifest = json.loads(blob(image["digest"]).read_text())
    for part in (image, manifest["config"], *manifest["layers"]):
        yield part["digest"].removeprefix("sha256:")


def _layout(reference: str) -> Path:
    return _LAYOUTS / reference.rpartition("/")[2].replace(":", "-")


def _repository(reference: str) -> str:
    return reference.rpartition(":")[0]


def _export(reference: str, layout: Path) -> None:
    """Copies an image out of buildah's store, but for layers that other images brought.

    By skopeo, since buildah's own push compresses the layers: a minute of both cores for torch, and once more to undo.
    """
    options = ("--quiet", "--dest-oci-accept-uncompressed-layers", "--dest-shared-blob-dir", _BLOBS)
    source = f"containers-storage:[overlay@{_STORE / 'root'}+{_STORE / 'run'}]{reference}"
    run("skopeo", "copy", *options, source, f"oci:{layout}:latest", environment=_scratch())
    (layout / _NAME).write_text(reference)


def import_root(reference: str, root: Path) -> None:
    """Makes an image of one layer from a root file system."""
    with exclusive(_BUILDAH_LOCK):
        container = _buildah("from", "scratch").strip()
        try:
            _buildah("copy", "--quiet", container, root, "/")
            _buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
            _buildah("commit", "--quiet", container, reference)
        finally:
            _buildah("rm", container)


def is_stored(reference: str) -> bool:
    """Whether buildah has an image, to build others on."""
    return bool(_buildah("images", "--quiet", "--filter", f"reference={reference}").strip())


def _buildah(*arguments: str | Path) -> str:
    """Runs buildah on a store of our own."""
    packages.require(*packages.IMAGES)
    store = ("--root", _STORE / "root", "--runroot", _STORE / "run", "--storage-driver", "overlay")
    return run("buildah", *store, *arguments, environment=_scratch())


def _scratch() -> dict[str, str]:
    """Returns where temporary files go; buildah's cache mounts lie there too, shared with pip and uv outside of it."""
    temporary = _STORE / "tmp"
    mounts = temporary / "buildah-cache"
    mounts.mkdir(parents=True, exist_ok=True)
    for tool in ("uv", "pip"):
        if not (mounts / tool).is_symlink():
            (CACHE.parent / tool).mkdir(exist_ok=True)
            (mounts / tool).symlink_to(CACHE.parent / tool)
    return {"TMPDIR": str(temporary)}
