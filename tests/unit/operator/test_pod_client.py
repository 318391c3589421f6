"""What a pod may answer, over a real socket."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from customizer_operator.pod_client import PodClient

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def serve(listener: socket.socket, answer: bytes, drip: int) -> None:
    """Answers one request, and goes on with so many bytes, slowly."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        connection.recv(65536)
        connection.sendall(answer)
        for _ in range(drip):
            time.sleep(0.1)
            connection.sendall(b" ")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def ask(listener: socket.socket, answer: bytes, drip: int = 0, patience: float = 2.0) -> object:
    threading.Thread(target=serve, args=(listener, answer, drip), daemon=True).start()
    return PodClient(patience).get(f"http://127.0.0.1:{listener.getsockname()[1]}/progress")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(OK + b'Content-Length: 11\r\n\r\n{"step": 3}', {"step": 3}, id="JSON"),
        pytest.param(OK + b"\r\nno JSON", None, id="something else"),
        pytest.param(b"no HTTP at all\r\n\r\n", None, id="no HTTP"),
        pytest.param(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", None, id="an error"),
        pytest.param(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\n{}", None, id="a redirect"
        ),
        pytest.param(OK + b"\r\n" + b" " * (1 << 21), None, id="too much"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_only_json_from_the_pod_itself_is_an_answer(listener: socket.socket, answer: bytes, expected: object) -> None:
    assert ask(listener, answer) == expected


def test_a_slow_answer_is_not_waited_for(listener: socket.socket) -> None:
    began = time.monotonic()
    assert ask(listener, OK + b"\r\n{}", drip=100, patience=0.3) is None
    assert time.monotonic() - began < 5


def test_a_pod_that_does_not_listen_gives_no_answer() -> None:
    assert PodClient().get("http://127.0.0.1:1/progress") is None
