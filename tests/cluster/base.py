"""The base image of this machine: what `python:3.11-slim-bookworm` is to production, made from Debian's packages."""

from collections.abc import Iterator
from pathlib import Path

from tests.cluster import oci, packages
from tests.cluster.commands import run
from tests.cluster.console import step
from tests.cluster.files import digest, remove_tree
from tests.cluster.settings import CACHE

_SUITE = "bookworm"
_PACKAGES = ("ca-certificates", "python3", "python3-dev", "python3-venv")
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))


def image() -> str:
    """Returns the base image, made with debootstrap if buildah has not got it."""
    reference = f"localhost/customizer-base:{digest(_SUITE, *_PACKAGES)}"
    packages.require(*packages.IMAGES)
    if not oci.is_stored(reference):
        root = CACHE / "images" / "base.partial"
        remove_tree(root)
        root.parent.mkdir(parents=True, exist_ok=True)
        with step("making the base image from Debian's packages (about 90 s, once)"):
            _bootstrap(root)
            oci.import_root(reference, root)
        remove_tree(root)
    return reference


def _bootstrap(root: Path) -> None:
    mirror = next(_mirrors())
    run("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, root, mirror)
    for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
        remove_tree(root / leftover)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)
    (root / "var/lib/apt/lists/partial").mkdir(parents=True)
    (root / "root").chmod(0o755)
    # Builds get their packages from where this machine gets Debian's, security updates included, and nobody else's.
    source = next(path for path in _SOURCES if path.exists() and path.read_text().strip())
    target = root / source.relative_to("/")
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    target.write_text(source.read_text())


def _mirrors() -> Iterator[str]:
    """Yields the addresses of the Debian mirrors that this machine is set up with, in both formats of apt."""
    for path in _SOURCES:
        for line in path.read_text().splitlines() if path.exists() else []:
            words = line.split()
            if words[:1] == ["URIs:"]:
                yield words[1]
            elif words[:1] == ["deb"]:
                yield next(word for word in words[1:] if "://" in word)
