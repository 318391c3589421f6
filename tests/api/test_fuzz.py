"""Thousands of specs that nobody would write: the apiserver refuses each with a message, or the operator tells in a
condition what becomes of it.

All of them go to the apiserver as a dry run; what it lets through is decided on as the operator does. A few live under
a running operator.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from customizer_operator.api.base import Resource
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.api.model_deployment import ModelDeployment
from tests.api.conftest import ROOT, Operator
from tests.api.control_plane import ApiRefusedError
from tests.api.world import Object, World
from tests.support import fuzz, samples
from tests.unit.operator import simulator
from tests.unit.serving import world as serving
from tests.unit.trainer.test_memory import SMOLLM2

EXAMPLES = int(os.environ.get("CUSTOMIZER_FUZZ_EXAMPLES", "2000"))
"""Specs of both kinds together."""
_LIVE = 40
"""Of the jobs among them so many, at most, live under the operator."""
_LARGEST = 64
"""Replicas of which the simulated cluster makes pods."""
_REFUSALS = (400, 422)
FUZZ = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=[Phase.generate, Phase.shrink],
)


def read_examples(kind: str) -> list[Object]:
    """Returns the specs of the documented examples."""
    folder = ROOT / "manifests" / "examples"
    documents = [item for path in sorted(folder.glob("*.yaml")) for item in yaml.safe_load_all(path.read_text())]
    return [item["spec"] for item in documents if item["kind"] == kind]


def specs(kind: type[Resource], *more: Object) -> st.SearchStrategy[Object]:
    """Returns specs of a kind: made from the schema alone, examples with odd values, and examples that were spoiled."""
    schema = fuzz.spec_schema(kind)
    examples = [*read_examples(kind.__name__), *more]
    fields = list(fuzz.find_fields(schema))
    # What is made from the schema alone hardly ever satisfies the rules between its fields.
    return st.one_of(fuzz.values(schema), fuzz.spoiled(examples, fields), *[fuzz.touched(examples, fields)] * 4)


JOBS = specs(CustomizationJob, samples.job()["spec"])
DEPLOYMENTS = specs(ModelDeployment)


class Crowd:
    """Sends specs to the apiserver, and counts what became of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ends: Counter[str] = Counter()
        self.accepted: list[Object] = []

    def take_job(self, spec: Object) -> Object | None:
        """Sends a job; those that are let through are kept."""
        stored = self.send("customizationjobs", "CustomizationJob", "tickets", spec)
        if stored is not None:
            self.accepted.append(spec)
        return stored

    def send(self, plural: str, kind: str, name: str, spec: Object) -> Object | None:
        """Returns an object as the apiserver would store it, None if it refuses it with a message."""
        item = {"apiVersion": "customizer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        try:
            return self.world.create(plural, item, dry_run=True)
        except ApiRefusedError as error:
            refusal = error
        assert refusal.status in _REFUSALS
        assert refusal.message
        self.ends["refused by the apiserver"] += 1
        return None


@pytest.fixture(scope="module")
def crowd(control_plane: Any) -> Iterator[Crowd]:
    """One for all specs."""
    world = World(control_plane, "fuzz")
    yield Crowd(world)
    world.remove()


def test_no_job_makes_the_operator_raise_and_none_is_left_without_a_word(crowd: Crowd) -> None:
    @settings(FUZZ, max_examples=EXAMPLES * 3 // 4)
    @given(JOBS)
    def run(spec: Object) -> None:
        stored = crowd.take_job(spec)
        if stored is None:
            return
        world = simulator.World(stored)
        world.settle()
        crowd.ends[_tell(world.status)] += 1
        if world.condition("Accepted")[0] == "False" or world.condition("Suspended")[0] == "True":
            return
        world.pass_preflight(samples.passed(dtype="bfloat16", shape=SMOLLM2, size_bytes=2**28))
        world.run(60)
        crowd.ends[_tell(world.status)] += 1

    run()
    print(crowd.ends)
    assert len(crowd.accepted) > EXAMPLES // 20
    assert crowd.ends["refused by the apiserver"] > EXAMPLES // 10


def test_no_deployment_makes_the_operator_raise_and_none_is_left_without_a_word(crowd: Crowd) -> None:
    before = crowd.ends["refused by the apiserver"]
    accepted: Counter[str] = Counter()

    @settings(FUZZ, max_examples=EXAMPLES // 4)
    @given(DEPLOYMENTS, st.sampled_from((serving.ADAPTER, serving.MODEL)))
    def run(spec: Object, artifact: Any) -> None:
        stored = crowd.send("modeldeployments", "ModelDeployment", "bot", spec)
        if stored is None:
            return
        stored["metadata"]["namespace"] = "team"
        few = stored["spec"].get("replicas", 1) <= _LARGEST
        world = serving.World(stored, serving.publish(artifact), artifact if few else None, listed=["tickets"])
        for _ in range(8):
            world.step()
        accepted[_tell(world.subject["status"])] += 1

    run()
    print(accepted)
    assert accepted.total() > EXAMPLES // 40
    assert crowd.ends["refused by the apiserver"] - before > EXAMPLES // 40


def _tell(status: Object) -> str:
    """Returns the state, of which conditions and message say more."""
    assert status["message"]
    assert status["conditions"]
    assert all(condition["message"] and condition["reason"] for condition in status["conditions"])
    return str(status["state"])


def test_a_running_operator_gets_on_with_them(
    crowd: Crowd, world: World, start_operator: Callable[..., Operator], tmp_path: Path
) -> None:
    if not crowd.accepted:

        @settings(FUZZ, max_examples=_LIVE)
        @given(JOBS)
        def run(spec: Object) -> None:
            crowd.take_job(spec)

        run()
    operator = start_operator()
    names = []
    for number, spec in enumerate(crowd.accepted[:: max(1, len(crowd.accepted) // _LIVE)]):
        names.append(f"fuzz-{number}")
        world.create("customizationjobs", {**samples.job(names[-1]), "spec": spec})
    for name in names:
        world.wait(f"a word about {name}", lambda name=name: _has_word(world, name))
    assert operator.is_running()
    assert "Traceback" not in operator.log()


def _has_word(world: World, name: str) -> bool:
    status = (world.get("customizationjobs", name) or {}).get("status")
    return status is not None and bool(_tell(status))
