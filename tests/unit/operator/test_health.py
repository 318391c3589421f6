"""What the kubelet is told."""

import asyncio
import time
import urllib.error
import urllib.request
from http import HTTPStatus

import pytest

from customizer_operator import health


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()


async def test_each_check_has_its_path_and_a_loop_that_hangs_fails_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE", 0.2)
    problem: list[str] = []
    checks = {"/healthz": lambda: None, "/readyz": lambda: problem[0] if problem else None}
    server = health.serve_health(0, asyncio.get_running_loop(), checks)
    port = server.server_port
    assert await asyncio.to_thread(ask, port, "/readyz") == (HTTPStatus.OK, "ok")
    problem.append("the caches are empty")
    assert await asyncio.to_thread(ask, port, "/readyz") == (HTTPStatus.SERVICE_UNAVAILABLE, "the caches are empty")
    assert await asyncio.to_thread(ask, port, "/healthz") == (HTTPStatus.OK, "ok")
    assert (await asyncio.to_thread(ask, port, "/"))[0] == HTTPStatus.NOT_FOUND
    asked = asyncio.create_task(asyncio.to_thread(ask, port, "/healthz"))
    await asyncio.sleep(0)  # the thread begins
    time.sleep(1)
    assert await asked == (HTTPStatus.SERVICE_UNAVAILABLE, "the event loop does not answer")
    server.shutdown()
    server.server_close()
