"""An apiserver that refuses, falls silent and drops its watches: a job lives through it all the same."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.conftest import Operator
from tests.api.control_plane import ControlPlane
from tests.api.proxy import Proxy, Request
from tests.api.test_rights import Life
from tests.api.world import World
from tests.support import samples

_PATIENCE = 90


class Moody:
    """Refuses every first request of its kind."""

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}

    def __call__(self, request: Request) -> int | None:
        """Returns the status of a refusal: a conflict, too many requests, or an error of its own."""
        path = request.path.partition("?")[0]
        kind = f"{request.method} {path.rsplit('/', 1)[-1]}"
        if "watch=" in request.path or kind in self.refused or "/namespaces/" not in path:
            return None
        status = {"PATCH": 409, "POST": 429}.get(request.method)
        if status is not None:
            self.refused[kind] = status
        return status


def test_a_job_completes_though_every_first_request_is_refused_and_the_apiserver_goes_away(
    world: World, proxy: Proxy, start_operator: Callable[..., Operator]
) -> None:
    proxy.refuse = moody = Moody()
    operator = start_operator(proxy.url)
    world.create("customizationjobs", samples.job())
    world.wait("preflight", lambda: world.get("jobs", "tickets-preflight"), patience=_PATIENCE)
    proxy.die()
    world.pass_preflight("tickets", samples.passed())
    proxy.revive()
    world.wait("attempt 1", lambda: world.get("pytorchjobs", "tickets-a1"), patience=_PATIENCE)
    first, second = world.make_workers("tickets-a1")
    proxy.drop_watches()
    for pod in (first, second):
        world.run_pod(pod)
    world.wait_for_condition("tickets", "Running", patience=_PATIENCE)
    world.end_pod(second, 0)
    world.end_pod(first, 0, samples.trained())
    world.wait_for_condition("tickets", "Complete", patience=_PATIENCE)
    assert operator.is_running()
    assert len(world.all("pytorchjobs")) == 1
    assert {409, 429} <= set(moody.refused.values())


def test_an_object_that_went_or_changed_unseen_is_found_out_by_the_write_that_comes_too_late(
    world: World, control_plane: ControlPlane, tmp_path: Path
) -> None:
    life = Life(control_plane, world, tmp_path)
    for name in ("changed", "gone", "again"):
        world.create("customizationjobs", samples.job(name))
        life.look(name)
    world.patch("customizationjobs", "changed", {"spec": {"suspend": True}})
    for name in ("gone", "again"):
        world.delete("customizationjobs", name)
    made = world.create("customizationjobs", samples.job("again"))
    for name in ("changed", "gone", "again"):
        world.pass_preflight(name, samples.passed())  # so that there is something to write
    life.hear_of("pods")
    for name in ("changed", "gone", "again"):
        life.look_blindly(name)
    status = (world.get("customizationjobs", "changed") or {})["status"]
    assert (status["observedGeneration"], status["state"]) == (2, "Suspended")
    assert life.knows("gone") is None
    assert life.knows("again") == made["metadata"]["uid"]


@pytest.mark.parametrize("refused", ["", "/services?"], ids=["while all others watch", "while others cannot yet"])
def test_an_operator_whose_watch_brings_half_a_line_ends_with_a_word_and_the_next_one_goes_on(
    refused: str, world: World, proxy: Proxy, start_operator: Callable[..., Operator]
) -> None:
    proxy.refuse = lambda request: 503 if refused and refused in request.path else None
    proxy.halve = lambda request: "/customizationjobs?" in request.path and "watch=" in request.path
    operator = start_operator(proxy.url)
    world.create("customizationjobs", samples.job())

    def has_ended() -> bool:
        world.patch("customizationjobs", "tickets", {"metadata": {"annotations": {"touched": uuid.uuid4().hex}}})
        return not operator.is_running()

    world.wait("the end", has_ended, patience=_PATIENCE)
    assert operator.exit_code == 1
    assert "watching has failed, so the operator ends and must be started anew" in operator.log()
    proxy.halve = lambda request: False
    proxy.refuse = lambda request: None
    start_operator(proxy.url)
    world.wait("preflight", lambda: world.get("jobs", "tickets-preflight"), patience=_PATIENCE)
