"""The loop around decisions: who is woken, and what a look waits for."""

import asyncio
import copy
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from customizer_operator.cluster import Cluster
from customizer_operator.loop import Operator
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, HttpGet, Key, Plan, Question
from customizer_operator.settings import Settings
from tests.unit.operator import simulator
from tests.unit.operator.stages import running

RUNNING, NEW = Key("customizationjobs", "team", "tickets"), Key("customizationjobs", "team", "new")


class SilentPods(Cluster):
    """A cluster whose pods answer when they are let, and that notes which jobs were acted on."""

    def __init__(self, world: simulator.World) -> None:
        self.let = asyncio.Event()
        self.asked = asyncio.Event()
        self.acted: list[str] = []
        self._world = world

    def now(self) -> datetime:
        """Returns the time of the simulation."""
        return self._world.now

    def answer(self, questions: Iterable[Question]) -> dict[Question, object]:
        """Leaves open what only pods can tell."""
        return {question: None for question in questions if not isinstance(question, HttpGet)}

    async def ask_pods(self, questions: Iterable[Question]) -> dict[Question, object]:
        """Waits, and hears nothing."""
        self.asked.set()
        await self.let.wait()
        return dict.fromkeys(questions)

    def carry_out(self, subject: Any, resource: Any, plan: Plan) -> bool:
        """Notes that it was called."""
        self.acted.append(subject["metadata"]["name"])
        return True


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """One of a single thread that is connected to nothing."""
    path = tmp_path / "kubeconfig"
    context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": {"server": "https://127.0.0.1:1"}}],
                "users": [{"name": "test", "user": {"token": "none"}}],
                "contexts": [context],
            }
        )
    )
    return Operator(Settings(images=simulator.SETTINGS.images, workers=1), path)


async def test_a_look_that_waits_for_a_pod_holds_up_no_other(operator: Operator) -> None:
    world = running()[0]
    for (resource, _), item in world.objects.items():
        operator._cache.put(resource, item)
    new = copy.deepcopy(world.subject)
    new["metadata"] |= {"name": "new", "uid": "uid-new"}
    del new["status"]
    operator._cache.put(CUSTOMIZATION_JOB, new)
    cluster = SilentPods(world)
    operator._cluster = cluster

    waiting = asyncio.create_task(operator._look_at(RUNNING))
    await cluster.asked.wait()
    await operator._look_at(NEW)
    assert cluster.acted == ["new"]
    cluster.let.set()
    await waiting
    assert cluster.acted == ["new", "tickets"]


def test_a_watch_wakes_once_and_not_for_what_is_known(operator: Operator) -> None:
    subject = running()[0].subject
    operator.notice(CUSTOMIZATION_JOB, subject, gone=False)
    assert operator._reconciler._queue.take(float("inf")) == RUNNING
    operator._reconciler._queue.succeed(RUNNING, 0.0, None)
    operator.notice(CUSTOMIZATION_JOB, subject, gone=False)
    assert operator._reconciler.depth == 0
    operator.notice(CUSTOMIZATION_JOB, subject, gone=True)
    assert operator._reconciler.depth == 1


def test_a_list_that_ends_after_a_watch_has_told_of_a_removal_does_not_take_it_back(operator: Operator) -> None:
    subject = running()[0].subject
    operator.notice(CUSTOMIZATION_JOB, subject, gone=False)
    operator.notice(CUSTOMIZATION_JOB, subject, gone=True)
    operator._cache.put(CUSTOMIZATION_JOB, subject)
    assert operator._cache.get(CUSTOMIZATION_JOB, RUNNING.namespace, RUNNING.name) is None
