"""Stages of a job's life in the simulator at which many tests begin."""

from typing import Any

from tests.support import samples
from tests.unit.operator.simulator import World


def running(**spec: Any) -> tuple[World, list[str]]:
    """Returns a world in which the first attempt of the job `tickets` runs, and the names of its pods."""
    world = World(samples.job("tickets", **spec))
    world.settle()
    world.pass_preflight(samples.passed())
    world.settle()
    pods = world.make_workers(1)
    world.run_pods(*pods)
    world.settle()
    return world, pods
