"""The part of Job controller and kubelets, for many jobs at a time; what is due happens at once.

They also keep the time: when each object first was seen by a watch. The training-operator is a real one.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.api.world import World
from tests.support import samples

_HANDS = 8
_PATHS = {"jobs": "/apis/batch/v1", "pytorchjobs": "/apis/kubeflow.org/v1", "pods": "/api/v1"}


class Stage:
    """Plays in one namespace. Preflight passes; attempts run until they are told to end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._hands = ThreadPoolExecutor(_HANDS)
        self.seen: dict[tuple[str, str], float] = {}
        """By plural and name: when it was seen first, by the monotonic clock."""
        self.passed: dict[str, float] = {}
        """By job: when preflight's end was written."""
        self.errors: list[BaseException] = []

    def begin(self) -> None:
        """Begins to watch."""
        for plural in _PATHS:
            threading.Thread(target=self._watch, args=(plural,), daemon=True).start()

    def _watch(self, plural: str) -> None:
        path = f"{_PATHS[plural]}/namespaces/{self._world.namespace}/{plural}"
        for event in self._world.plane.watch(path):
            name = event["object"]["metadata"]["name"]
            if event["type"] != "ADDED" or (plural, name) in self.seen:
                continue
            self.seen[plural, name] = time.monotonic()
            if plural == "jobs":
                self._do(self._pass, name)
            elif plural == "pods" and "-worker-" in name:
                self._do(self._world.run_pod, name)

    def _do(self, act: Callable[..., object], *arguments: Any) -> None:
        self._hands.submit(act, *arguments).add_done_callback(self._note)

    def _note(self, done: Any) -> None:
        if (error := done.exception()) is not None:
            self.errors.append(error)

    def _pass(self, job: str) -> None:
        """Preflight's Job gets its pod, which ends well."""
        owner = self._world.wait_for("jobs", job) | {"apiVersion": "batch/v1", "kind": "Job"}
        pod = f"{job}-pod"
        self._world.make_pod(owner, owner["spec"]["template"], pod, {"job-name": job})
        self._world.end_pod(pod, 0, samples.passed())
        self.passed[job.removesuffix("-preflight")] = time.monotonic()

    def end(self, job: str) -> None:
        """Lets the first attempt of a job end well."""
        first, second = find_workers(job)
        self._world.end_pod(second, 0)
        self._world.end_pod(first, 0, samples.trained())


def find_workers(job: str) -> tuple[str, str]:
    """Returns the names of the pods of a job's first attempt."""
    return f"{job}-a1-worker-0", f"{job}-a1-worker-1"
