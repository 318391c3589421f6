"""An operator that dies after every single write, on a real apiserver: the next one goes on, and nothing is twice."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from customizer_contract.errors import ExitCode
from customizer_operator.apiserver import ApiError
from customizer_operator.loop import Operator
from customizer_operator.objects.images import Images
from customizer_operator.plan.plan import Key
from customizer_operator.settings import Settings
from tests.api.conftest import write_kubeconfig
from tests.api.control_plane import ControlPlane
from tests.api.proxy import Proxy
from tests.api.world import World
from tests.support import samples

KEY = "customizationjobs"
NAME = "tickets"
_MOST_DEATHS = 40
_TELLS_TIMES = "Report"
"""The event about how a job's time was spent."""


class Life:
    """Operators, one after the other, each of which lives for so many writes."""

    def __init__(self, plane: ControlPlane, world: World, folder: Path, proxy: Proxy, writes: int | None) -> None:
        self.world = world
        self.deaths = 0
        self._proxy = proxy
        self._writes = writes
        self._kubeconfig = write_kubeconfig(plane, folder / f"{writes}.kubeconfig", proxy.url)
        images = Images(io="io:1", automodel="automodel:1", unsloth="unsloth:1")
        self._settings = Settings(images=images, namespaces=(world.namespace,))

    def settle(self) -> None:
        """Lets operators live and die until one has nothing to write."""
        for _ in range(_MOST_DEATHS):
            self._proxy.revive(self._writes)
            before = len(self._proxy.writes)
            self._live()
            if len(self._proxy.writes) == before:
                return
            self.deaths += self._proxy.is_dead
        raise AssertionError("still writing")

    def _live(self) -> None:
        """Starts an operator, which lists everything, and lets it look at the job until it is at rest or dead."""
        operator = Operator(self._settings, self._kubeconfig)
        assert asyncio.run(operator._refresh())
        while not self._proxy.is_dead:
            before = len(self._proxy.writes)
            try:
                asyncio.run(operator._look_at(Key(KEY, self.world.namespace, NAME)))
            except ApiError:
                assert self._proxy.is_dead
            if len(self._proxy.writes) == before:
                return

    def run(self) -> None:
        """A life with all kinds of writes: an attempt that lost a worker, and one that publishes."""
        world = self.world
        world.create(KEY, samples.job())
        self.settle()
        world.pass_preflight(NAME, samples.passed())
        self.settle()
        first, second = self.start_attempt(1)
        self.settle()
        world.delete("pods", second)
        self.settle()
        assert world.get("pytorchjobs", "tickets-a1") is None
        world.delete("pods", first)
        self.settle()
        first, second = self.start_attempt(2)
        self.settle()
        for pod in (first, second):
            world.end_pod(pod, int(ExitCode.PREEMPTED))
        world.set_training_job("tickets-a2", "Failed")
        self.settle()
        first, second = self.start_attempt(3)
        self.settle()
        world.end_pod(second, 0)
        world.end_pod(first, 0, samples.trained())
        self.settle()

    def start_attempt(self, number: int) -> list[str]:
        """Does what training-operator and the kubelet do."""
        pods = self.world.make_workers(f"tickets-a{number}")
        for pod in pods:
            self.world.run_pod(pod)
        return pods


def _describe(world: World) -> dict[str, Any]:
    """All that a life leaves behind, but for names and times that differ from one to the next."""
    job = world.get(KEY, NAME)
    assert job is not None
    status = job["status"]
    return {
        "objects": {
            kind: sorted(i["metadata"]["name"] for i in world.all(kind)) for kind in ("configmaps", "pytorchjobs")
        },
        "state": status["state"],
        "artifact": status["artifact"],
        "conditions": {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]},
        "attempts": [(a["number"], a["outcome"], a["reason"], a.get("message", "")) for a in status["attempts"]],
        "events": Counter((event["reason"], _without_times(event)) for event in world.all("events")),
    }


def _without_times(event: dict[str, Any]) -> str:
    return "" if event["reason"] == _TELLS_TIMES else str(event["message"])


def test_an_operator_that_dies_after_every_write_leaves_the_same_as_one_that_lives(
    control_plane: ControlPlane, tmp_path: Path, proxy: Proxy, make_world: Callable[[], World]
) -> None:
    lives = [Life(control_plane, make_world(), tmp_path, proxy, writes) for writes in (None, 1)]
    for life in lives:
        life.run()
    whole, torn = (_describe(life.world) for life in lives)
    assert whole["state"] == "Complete"
    assert [outcome for _, outcome, _, _ in whole["attempts"]] == ["Preempted", "Preempted", "Succeeded"]
    assert torn == whole
    assert lives[0].deaths == 0
    assert lives[1].deaths >= 20
