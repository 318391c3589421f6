"""What the kubelet and Prometheus are told, at real ports."""

import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus

from tests.api.conftest import Operator
from tests.api.proxy import Proxy, Request
from tests.api.world import World
from tests.support import samples
from tests.support.ports import free_port

_UNREACHABLE = 0


def _ask(port: int, path: str) -> tuple[int, str]:
    """Returns status and text of an answer; no status while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return _UNREACHABLE, ""


def _lists(request: Request, *plurals: str) -> bool:
    path, _, query = request.path.partition("?")
    return request.method == "GET" and path.endswith(plurals) and "watch=" not in query


def test_the_operator_is_ready_when_it_knows_the_cluster_and_dead_when_its_loop_is(
    world: World, proxy: Proxy, start_operator: Callable[..., Operator]
) -> None:
    def refuse(request: Request) -> int | None:
        return HTTPStatus.FORBIDDEN if _lists(request, "/pods", "/poddisruptionbudgets") else None

    def ask(path: str, status: int) -> str:
        def find() -> str | None:
            answered, text = _ask(health, path)
            return text if answered == status else None

        return str(world.wait(f"{path} to say {status}", find))

    proxy.refuse = refuse
    health, metrics = free_port(), free_port()
    operator = start_operator(
        proxy.url,
        CUSTOMIZER_HEALTH_PORT=str(health),
        CUSTOMIZER_METRICS_PORT=str(metrics),
        CUSTOMIZER_RESYNC_SECONDS="1",
    )
    world.create("customizationjobs", samples.job())
    world.wait("the first list to be refused", lambda: "listing everything failed" in operator.log())
    assert "could be listed" in ask("/readyz", HTTPStatus.SERVICE_UNAVAILABLE)
    ask("/healthz", HTTPStatus.OK)
    assert world.get("jobs", "tickets-preflight") is None

    # What only some specs need may stay forbidden.
    proxy.refuse = lambda request: HTTPStatus.FORBIDDEN if _lists(request, "/poddisruptionbudgets") else None
    ask("/readyz", HTTPStatus.OK)
    world.wait("preflight", lambda: world.get("jobs", "tickets-preflight"))
    assert operator.log().count("goes on without poddisruptionbudgets") == 1
    assert _ask(health, "/elsewhere")[0] == HTTPStatus.NOT_FOUND

    def scrape() -> str | None:
        status, text = _ask(metrics, "/metrics")
        return text if status == HTTPStatus.OK and 'state="Preflight"} 1.0' in text else None

    text = world.wait("the state in the metrics", scrape)
    assert 'customizer_objects{kind="CustomizationJob",state="Preflight"} 1.0' in text
    assert "customizer_reconcile_duration_seconds_bucket" in text

    # An answer that is none, which nobody expects: the loop ends, the process does not.
    proxy.refuse = lambda request: HTTPStatus.OK if _lists(request, "/pods") else None
    assert "stopped" in ask("/healthz", HTTPStatus.SERVICE_UNAVAILABLE)
    ask("/readyz", HTTPStatus.SERVICE_UNAVAILABLE)
    assert operator.is_running()
