"""Debian packages that a bare machine lacks."""

import shutil
from contextlib import suppress

from tests.cluster.commands import CommandError, run
from tests.cluster.console import step
from tests.cluster.locks import exclusive
from tests.cluster.settings import CACHE

CLUSTER = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "conntrack",
    "curl",
    "iproute2",
    "iptables",
    "nftables",
    "openssl",
    "util-linux",
)
IMAGES = ("buildah", "ca-certificates", "debootstrap", "skopeo")
PYTHON = ("python3", "python3-venv", "ca-certificates")


def require(*names: str) -> None:
    """Installs the packages that are missing, without starting the daemons that some of them bring."""
    if shutil.which("apt-get") is None:
        raise RuntimeError(f"this machine has no apt-get; install by hand what Debian calls {', '.join(names)}")
    missing = [name for name in names if not _is_installed(name)]
    if not missing:
        return
    quiet = {"RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
    install = ("apt-get", "install", "--yes", "--no-install-recommends", *missing)
    with exclusive(CACHE / "apt.lock"), step(f"installing {' '.join(missing)}"):
        try:
            run(*install, environment=quiet)
        except CommandError:  # the package lists are missing or old
            with suppress(CommandError):  # some other vendor's list may fail; whether Debian's came shows next
                run("apt-get", "update", environment=quiet)
            run(*install, environment=quiet)


def _is_installed(name: str) -> bool:
    try:
        return run("dpkg-query", "--showformat=${db:Status-Abbrev}", "--show", name).startswith("ii")
    except CommandError:  # dpkg has never heard of it
        return False
