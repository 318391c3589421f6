"""One apiserver for all tests, a namespace for each, the operator where it is asked for."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.api.control_plane import ControlPlane
from tests.api.world import World
from tests.cluster.builds import TRAINING_OPERATOR, module_folder

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


@pytest.fixture
def world(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[World]:
    """A namespace of its own."""
    digest = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:10]
    world = World(control_plane, f"test-{digest}")
    yield world
    world.remove()


@pytest.fixture
def start_operator(control_plane: ControlPlane, world: World, tmp_path: Path) -> Iterator[Callable[[], "Operator"]]:
    """Starts operators, as processes of their own, with no rights but those of manifests/base."""
    started: list[Operator] = []

    def start() -> Operator:
        started.append(Operator(control_plane, world, tmp_path / f"operator-{len(started)}.log"))
        return started[-1]

    yield start
    for operator in started:
        operator.stop()
        sys.stdout.write(operator.log())


@pytest.fixture
def operator(start_operator: Callable[[], "Operator"]) -> "Operator":
    """The operator, running."""
    return start_operator()


class Operator:
    """The operator's process."""

    def __init__(self, plane: ControlPlane, world: World, log: Path) -> None:
        account = "/api/v1/namespaces/customizer-system/serviceaccounts/customizer-operator/token"
        token = plane.call("POST", account, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"})
        kubeconfig = plane.write_kubeconfig(log.with_suffix(".kubeconfig"), token["status"]["token"])
        environment = {
            **{name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COV")},
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(log.parent),
            "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'trainer'}",
            "CUSTOMIZER_IO_IMAGE": "registry.test/io:1",
            "CUSTOMIZER_AUTOMODEL_IMAGE": "registry.test/automodel:1",
            "CUSTOMIZER_UNSLOTH_IMAGE": "registry.test/unsloth:1",
            "CUSTOMIZER_NAMESPACES": world.namespace,
            "CUSTOMIZER_METRICS_PORT": "0",
            "CUSTOMIZER_HEALTH_PORT": "0",
        }
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "customizer_operator"],
            env=environment,
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def kill(self) -> None:
        """Ends it at once, whatever it is doing."""
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """Ends it as Kubernetes does."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)

    def is_running(self) -> bool:
        """Tells whether it is still there."""
        return self._process.poll() is None

    def log(self) -> str:
        """Returns what it has said."""
        return self._log.read_text()
