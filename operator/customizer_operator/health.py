"""Answers the kubelet: whether the loop lives, and whether it can work yet."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PATIENCE = 4.0
"""Seconds that the event loop has to answer; the kubelet waits for 5."""

Check = Callable[[], str | None]
"""Returns what is wrong, None when all is well."""


def serve_health(port: int, loop: asyncio.AbstractEventLoop, checks: Mapping[str, Check]) -> ThreadingHTTPServer:
    """Serves each check at its path, from threads of its own: 200, or 503 with what is wrong.

    A check runs in the event loop, so that a loop that hangs fails it, too.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            check = checks.get(self.path)
            if check is None:
                self._answer(HTTPStatus.NOT_FOUND, "no such check")
            elif (problem := _ask(loop, check)) is not None:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, problem)
            else:
                self._answer(HTTPStatus.OK, "ok")

        def _answer(self, status: HTTPStatus, text: str) -> None:
            body = f"{text}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Is silent: the kubelet asks every few seconds."""

    server = ThreadingHTTPServer(("", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def _ask(loop: asyncio.AbstractEventLoop, check: Check) -> str | None:
    async def run() -> str | None:
        return check()

    try:
        return asyncio.run_coroutine_threadsafe(run(), loop).result(_PATIENCE)
    except TimeoutError:
        return "the event loop does not answer"
