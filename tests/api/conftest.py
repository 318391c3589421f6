"""One apiserver for all tests, a namespace for each, the operator where it is asked for."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from customizer_operator.plan.plan import NIM_SERVICE, POD_GROUP
from tests.api.control_plane import ControlPlane
from tests.api.proxy import Proxy
from tests.api.world import World
from tests.cluster.builds import GATEWAY_API, KUEUE, PROMETHEUS_OPERATOR, TRAINING_OPERATOR, module_folder

ROOT = Path(__file__).parents[2]
PYTORCHJOB_CRD = "manifests/base/crds/kubeflow.org_pytorchjobs.yaml"


@pytest.fixture(scope="session")
def pytorchjob_crd() -> Path:
    """The CRD of PyTorchJobs, as upstream ships it."""
    return module_folder(TRAINING_OPERATOR) / PYTORCHJOB_CRD


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory, pytorchjob_crd: Path) -> Iterator[ControlPlane]:
    """A real apiserver with our CRDs, our RBAC and the CRD of PyTorchJobs."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as plane:
        plane.install(ROOT / "manifests/base", "-k")
        plane.install(pytorchjob_crd)
        yield plane


@pytest.fixture(scope="session")
def integrations(control_plane: ControlPlane) -> None:
    """The CRDs of what the operator works with where it is installed."""
    monitoring = "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml"
    control_plane.install(module_folder(GATEWAY_API) / "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml")
    for plural in ("servicemonitors", "podmonitors", "prometheusrules"):
        control_plane.install(module_folder(PROMETHEUS_OPERATOR) / monitoring.format(plural))


@pytest.fixture(scope="session")
def kueue(control_plane: ControlPlane) -> None:
    """The CRDs of Kueue that the operator reads, and those of what the overlay installs."""
    crds = module_folder(KUEUE) / "config/components/crd/bases"
    for plural in ("workloads", "localqueues", "clusterqueues", "resourceflavors", "topologies"):
        control_plane.install(crds / f"kueue.x-k8s.io_{plural}.yaml")


@pytest.fixture(scope="session")
def stand_ins(control_plane: ControlPlane) -> None:
    """CRDs without a schema, for the kinds whose real ones no registry has that can be reached here."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    for resource in (POD_GROUP, NIM_SERVICE):
        version = {"name": resource.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        names = {"plural": resource.plural, "singular": resource.kind.lower(), "kind": resource.kind}
        spec = {"group": resource.group, "names": names, "scope": "Namespaced", "versions": [version]}
        crd = {"metadata": {"name": f"{resource.plural}.{resource.group}"}, "spec": spec}
        control_plane.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    control_plane.wait_for_crds()


@pytest.fixture
def world(control_plane: ControlPlane) -> Iterator[World]:
    """A namespace of its own."""
    world = World(control_plane, _new_name())
    yield world
    world.remove()


def _new_name() -> str:
    # No controller ends a namespace here, so that a test that is run once more needs another one.
    return f"test-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def make_world(control_plane: ControlPlane) -> Iterator[Callable[[], World]]:
    """Makes namespaces."""
    made: list[World] = []

    def make() -> World:
        made.append(World(control_plane, _new_name()))
        return made[-1]

    yield make
    for world in made:
        world.remove()


@pytest.fixture
def start_operator(control_plane: ControlPlane, world: World, tmp_path: Path) -> Iterator[Callable[..., "Operator"]]:
    """Starts operators, as processes of their own, with no rights but those of manifests/base."""
    started: list[Operator] = []

    def start(server: str | None = None, **settings: str) -> Operator:
        log = tmp_path / f"operator-{len(started)}.log"
        started.append(Operator(control_plane, world, log, server, **settings))
        return started[-1]

    yield start
    for operator in started:
        operator.stop()
        sys.stdout.write(operator.log())


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[Proxy]:
    """A proxy in front of the apiserver."""
    with Proxy(control_plane) as proxy:
        yield proxy


@pytest.fixture
def operator(start_operator: Callable[..., "Operator"]) -> "Operator":
    """The operator, running."""
    return start_operator()


def write_kubeconfig(plane: ControlPlane, path: Path, server: str | None = None) -> Path:
    """Writes a kubeconfig with the rights of manifests/base and no others."""
    account = "/api/v1/namespaces/customizer-system/serviceaccounts/customizer-operator/token"
    token = plane.call("POST", account, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"})
    return plane.write_kubeconfig(path, token["status"]["token"], server)


class Operator:
    """The operator's process."""

    def __init__(
        self, plane: ControlPlane, world: World, log: Path, server: str | None = None, **settings: str
    ) -> None:
        kubeconfig = write_kubeconfig(plane, log.with_suffix(".kubeconfig"), server)
        environment = {
            **{name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COV")},
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(log.parent),
            "PYTHONFAULTHANDLER": "1",  # so that one that hangs says where
            "PYTHONPATH": ":".join(str(ROOT / folder) for folder in ("operator", "trainer", "tests/untraced")),
            "CUSTOMIZER_IO_IMAGE": "registry.test/io:1",
            "CUSTOMIZER_AUTOMODEL_IMAGE": "registry.test/automodel:1",
            "CUSTOMIZER_UNSLOTH_IMAGE": "registry.test/unsloth:1",
            "CUSTOMIZER_NAMESPACES": world.namespace,
            "CUSTOMIZER_METRICS_PORT": "0",
            "CUSTOMIZER_HEALTH_PORT": "0",
            **settings,
        }
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "customizer_operator"],
            env=environment,
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self) -> int:
        """Returns the number of its process."""
        return self._process.pid

    def kill(self) -> None:
        """Ends it at once, whatever it is doing."""
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """Ends it as Kubernetes does."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired as error:
                self._process.send_signal(signal.SIGABRT)
                self._process.wait(30)
                raise AssertionError(f"the operator does not end; this is what it does:\n{self.log()}") from error

    def is_running(self) -> bool:
        """Tells whether it is still there."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Returns what it ended with, None while it is still there."""
        return self._process.poll()

    def log(self) -> str:
        """Returns what it has said."""
        return self._log.read_text()
