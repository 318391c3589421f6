"""A cluster without training-operator: the operator starts all the same and goes on when it is installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import ROOT, Operator
from tests.api.control_plane import ControlPlane
from tests.api.world import World
from tests.support import samples

_PATIENCE = 90
"""Seconds for what no watch may tell: it is listed and asked for now and then."""


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An apiserver that does not know PyTorchJobs."""
    with ControlPlane(tmp_path_factory.mktemp("bare")) as plane:
        plane.install(ROOT / "manifests/base", "-k")
        yield plane


@pytest.mark.usefixtures("operator")
def test_a_job_waits_for_training_operator_and_goes_on_without_a_restart(
    world: World, operator: Operator, control_plane: ControlPlane, pytorchjob_crd: Path
) -> None:
    world.create("customizationjobs", samples.job())
    world.pass_preflight("tickets", samples.passed())
    condition = world.wait_for_condition("tickets", "Stalled", reason="TrainingOperatorMissing")
    assert "install Kubeflow's training-operator" in condition["message"]

    control_plane.install(pytorchjob_crd)
    world.wait("attempt 1", lambda: world.get("pytorchjobs", "tickets-a1"), patience=_PATIENCE)
    first, second = world.make_workers("tickets-a1")
    for pod in (first, second):
        world.run_pod(pod)
    world.wait_for_condition("tickets", "Running")
    world.set_training_job("tickets-a1", "Failed")
    world.end_pod(first, 1)
    world.end_pod(second, 1)
    world.wait("attempt 2", lambda: world.get("pytorchjobs", "tickets-a2"), patience=_PATIENCE)
    assert operator.is_running()
