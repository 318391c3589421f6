"""The connection to an apiserver that keeps silent, or whose clock is another one."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate, pairwise, takewhile
from pathlib import Path

import pytest

from customizer_operator import apiserver
from customizer_operator.apiserver import ApiError, ApiServer
from customizer_operator.main import Backoffs

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Server:
    """Answers `{}` by its own clock, or not at all."""

    def __init__(self) -> None:
        self.date: datetime | str = NOON
        self.asked = 0
        self.answer = b"{}"
        self.silent = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked += 1
                if server.silent.is_set():
                    time.sleep(1)
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(server.answer)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return server.date if isinstance(server.date, str) else format_datetime(server.date, usegmt=True)

            def log_message(self, *_: object) -> None:
                """Is silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def kubeconfig(server: Server, tmp_path: Path) -> Path:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    return tmp_path / "kubeconfig"


def test_a_silent_apiserver_is_asked_once_and_the_reconciler_asks_again(
    server: Server, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apiserver, "_TIMEOUT", (1, 0.1))
    server.silent.set()
    with pytest.raises(ApiError, match="did not answer"):
        ApiServer(kubeconfig).call("GET", "/api")
    assert server.asked == 1


def test_an_answer_whose_end_was_lost_is_none(server: Server, kubeconfig: Path) -> None:
    server.answer = b'{"items": [{"metadata"'
    with pytest.raises(ApiError, match="no answer of an apiserver"):
        ApiServer(kubeconfig).call("GET", "/api/v1/pods")


def test_the_apiserver_s_clock_counts_when_the_own_one_is_another(server: Server, kubeconfig: Path) -> None:
    api = ApiServer(kubeconfig, lambda: NOON - HOUR)
    assert api.now() == NOON - HOUR
    api.call("GET", "/api")
    assert api.now() == NOON
    server.date = NOON - 2 * HOUR
    api.call("GET", "/api")
    assert api.now() == NOON - 2 * HOUR


@pytest.mark.parametrize(
    "date",
    [NOON - timedelta(seconds=2), "yesterday", ", ".join(["Wed, 25 Nov 2026 10:00:00 GMT"] * 2)],
    ids=["a little off", "no date", "the dates of a proxy and of the apiserver"],
)
def test_what_is_no_difference_changes_nothing(server: Server, kubeconfig: Path, date: datetime | str) -> None:
    server.date = date
    api = ApiServer(kubeconfig, lambda: NOON)
    api.call("GET", "/api")
    assert api.now() == NOON


def test_watches_are_begun_again_for_as_long_as_it_takes_and_soon_after() -> None:
    day, pauses = 86_400, Backoffs()
    tries = list(takewhile(lambda seconds: seconds < day, accumulate(pauses)))
    assert tries[-1] > day - 10
    assert max(later - earlier for earlier, later in pairwise(tries)) < 10
    assert next(iter(pauses)) == 1, "each request begins anew"
