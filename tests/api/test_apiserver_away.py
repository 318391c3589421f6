"""An apiserver that is away for two minutes, in each way that there is: the operator waits, and goes on soon after.

The longest test, so its name comes first: the other worker does the rest meanwhile.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.api.conftest import Operator
from tests.api.control_plane import ControlPlane
from tests.api.proxy import Proxy
from tests.api.world import World
from tests.support import samples

_SECONDS = 120
_PATIENCE = 120


@contextmanager
def hang_up(proxy: Proxy) -> Iterator[None]:
    """As an apiserver that is being started anew."""
    proxy.die()
    yield
    proxy.revive()


@contextmanager
def answer_503(proxy: Proxy) -> Iterator[None]:
    """As a load balancer that has no apiserver behind it."""
    proxy.refuse = lambda request: 503
    proxy.drop_watches()
    yield
    proxy.refuse = lambda request: None


WAYS: dict[str, Callable[[Proxy], AbstractContextManager[None]]] = {
    "hangs up": hang_up,
    "answers 503": answer_503,
    "keeps silent": Proxy.silence,
}


@pytest.fixture
def lives(
    control_plane: ControlPlane, make_world: Callable[[], World], tmp_path: Path
) -> Iterator[list[tuple[World, Proxy, Operator]]]:
    """For each way a namespace, with an operator that has a proxy of its own."""
    with ExitStack() as stack:
        made = []
        for number in range(len(WAYS)):
            world, proxy = make_world(), stack.enter_context(Proxy(control_plane))
            operator = Operator(control_plane, world, tmp_path / f"operator-{number}.log", proxy.url)
            stack.callback(lambda operator=operator: sys.stdout.write(operator.log()))
            stack.callback(operator.stop)
            made.append((world, proxy, operator))
        yield made


def test_a_job_whose_pods_end_while_the_apiserver_is_away_completes_when_it_is_back(
    lives: list[tuple[World, Proxy, Operator]],
) -> None:
    pods = []
    for world, _, _ in lives:
        world.create("customizationjobs", samples.job())
    for world, _, _ in lives:
        world.pass_preflight("tickets", samples.passed())
        pods.append(world.make_workers("tickets-a1"))
        for pod in pods[-1]:
            world.run_pod(pod)
        world.wait_for_condition("tickets", "Running")
    with ExitStack() as outage:
        for (_, proxy, _), leave in zip(lives, WAYS.values(), strict=True):
            outage.enter_context(leave(proxy))
        for (world, _, _), (first, second) in zip(lives, pods, strict=True):
            world.end_pod(second, 0)
            world.end_pod(first, 0, samples.trained())
        time.sleep(_SECONDS)
        assert all(operator.is_running() for _, _, operator in lives)
    back = time.monotonic()
    for (world, _, operator), way in zip(lives, WAYS, strict=True):
        world.wait_for_condition("tickets", "Complete", patience=_PATIENCE)
        print(f"{way}: complete {time.monotonic() - back:.0f} s after it was back")
        assert len(world.all("pytorchjobs")) == 1
        assert operator.is_running()
