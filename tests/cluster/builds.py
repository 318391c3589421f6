"""Kubernetes and what it needs, compiled from the Go module proxy and kept in the cache by content."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.console import step
from tests.cluster.files import digest, make_once
from tests.cluster.locks import exclusive
from tests.cluster.settings import CACHE, HERE

COMPONENTS = HERE / "components"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A program built in its own module, with the versions that its own go.sum pins."""

    name: str
    module: str
    version: str
    package: str


COREDNS = Upstream("coredns", "github.com/coredns/coredns", "v1.14.7", ".")
TRAINING_OPERATOR = Upstream(
    "training-operator", "github.com/kubeflow/training-operator", "v1.9.4", "./cmd/training-operator.v1"
)
VERSITYGW = Upstream("versitygw", "github.com/versity/versitygw", "v1.8.0", "./cmd/versitygw")
KUEUE = Upstream("kueue", "sigs.k8s.io/kueue", "v0.19.2", "./cmd/kueue")
"""Built only when it is asked for."""
GATEWAY_API = Upstream("gateway-api", "sigs.k8s.io/gateway-api", "v1.5.1", "./config/crd")
PROMETHEUS_OPERATOR = Upstream(
    "prometheus-operator", "github.com/prometheus-operator/prometheus-operator", "v0.85.0", "./cmd/operator"
)
"""Only the CRDs of these two are used."""
S5CMD = Upstream("s5cmd", "github.com/peak/s5cmd/v2", "v2.3.0", ".")
"""What S3 is measured against, by `make bench`."""
UPSTREAM = (COREDNS, TRAINING_OPERATOR, VERSITYGW)

# One setting for all: static files run in an empty image, and packages that several share are compiled once.
# Pinned by go.mod and go.sum, whatever a module keeps in a folder `vendor`.
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
_FLAGS = ("-trimpath", "-buildvcs=false")
_STRIP = "-s -w"


def build_all() -> Path:
    """Returns a folder that holds every program, compiled if the cache has not got it."""
    sources = [build_kubernetes(), *(build_upstream(program) for program in UPSTREAM)]
    key = digest(*(str(source) for source in sources))

    def link(folder: Path) -> None:
        for source in sources:
            for program in source.iterdir():
                (folder / program.name).hardlink_to(program)

    return make_once(CACHE / "go" / f"all-{key}", link)


def build_kubernetes() -> Path:
    """Returns the folder with etcd, the Kubernetes programs, kubectl and pause."""
    key = digest(COMPONENTS, kubernetes_version(), *_FLAGS)
    return make_once(CACHE / "go" / f"kubernetes-{key}", _compile_kubernetes)


def build_upstream(program: Upstream) -> Path:
    """Returns the folder with one upstream program."""
    key = digest(program.module, program.version, program.package, *_FLAGS)

    def compile_program(folder: Path) -> None:
        with step(f"compiling {program.name} {program.version}"):
            _go_build(module_folder(program), folder / program.name, program.package, _STRIP)

    return make_once(CACHE / "go" / f"{program.name}-{key}", compile_program)


def kubernetes_version() -> str:
    """Returns the version that components/go.mod pins."""
    lines = (COMPONENTS / "go.mod").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.strip().startswith("k8s.io/kubernetes v"))


def module_folder(program: Upstream) -> Path:
    """Returns the read-only source of an upstream module, downloaded if need be."""
    _require_go()
    answer = run("go", "mod", "download", "-json", f"{program.module}@{program.version}")
    return Path(json.loads(answer)["Dir"])


def _compile_kubernetes(folder: Path) -> None:
    # The programs are told their version as upstream's release build tells it.
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".")
    told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    stamp = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in told.items())
    with step(f"compiling etcd and Kubernetes {version} (about 8 minutes on 2 cores, once)"):
        _go_build(COMPONENTS, f"{folder}/", "./cmd/...", f"{_STRIP} {stamp}")


def _go_build(module: Path, output: Path | str, package: str, link: str) -> None:
    _require_go()
    command = ("go", "build", "-C", module, *_FLAGS, "-ldflags", link, "-o", output, package)
    with exclusive(CACHE / "go" / "compile.lock"):  # two at once would only fight for the cores
        run(*command, environment=_ENVIRONMENT)


def _require_go() -> None:
    if shutil.which("go") is None:
        raise RuntimeError("Go is not on PATH; tests/cluster/components/go.mod names the oldest version that will do")
