"""A proxy in front of the apiserver that does to requests what networks and apiservers do."""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.api.control_plane import ControlPlane

_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_REFUSED = 400
_HOP_BY_HOP = ("connection", "transfer-encoding", "keep-alive")


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked of the apiserver."""

    method: str
    path: str

    @property
    def is_write(self) -> bool:
        """Tells whether it changes something."""
        return self.method in _WRITES


class Proxy(AbstractContextManager["Proxy"]):
    """Hands requests on, as far as it is let.

    `refuse` answers a request itself with the status that it returns. A silent proxy neither answers nor hangs up: what
    is on its way waits. After `writes_left` writes the proxy is dead:
    the last write happens but its answer is lost, and nothing else gets through until `revive`. What `halve` chooses
    ends in the midst of what comes next, in good order, as behind a proxy that takes a lost connection for the end.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self.refuse: Callable[[Request], int | None] = lambda request: None
        self.halve: Callable[[Request], bool] = lambda request: False
        self.writes_left: int | None = None
        self.writes: list[Request] = []
        self._dead = threading.Event()
        self._speaks = threading.Event()
        self._speaks.set()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._target = urlsplit(plane.url).netloc
        self._context = ssl.create_default_context(cafile=plane.authority)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._speaks.set()
        self.die()
        self._server.shutdown()
        self._server.server_close()

    @property
    def is_dead(self) -> bool:
        """Tells whether nothing gets through."""
        return self._dead.is_set()

    def die(self) -> None:
        """Lets nothing through any more; running watches end."""
        self._dead.set()
        self.drop_watches()

    def revive(self, writes_left: int | None = None) -> None:
        """Lets requests through again."""
        self.writes_left = writes_left
        self._dead.clear()

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Lets nothing through meanwhile, without a word to either side."""
        self._speaks.clear()
        yield
        self._speaks.set()

    def drop_watches(self) -> None:
        """Ends every answer that is being read, in the midst of it."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for connection in sockets:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                # Not as TLS does it: another thread is reading.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    @contextlib.contextmanager
    def _hold(self, *sockets: socket.socket) -> Iterator[None]:
        with self._lock:
            self._sockets.update(sockets)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.difference_update(sockets)

    def _count(self, request: Request, status: int) -> bool:
        """Notes a write that has happened; tells whether its answer may be handed on."""
        if not request.is_write or status >= _REFUSED:
            return True
        with self._lock:
            self.writes.append(request)
            if self.writes_left is None:
                return True
            self.writes_left -= 1
            if self.writes_left <= 0:
                self._dead.set()
            return not self._dead.is_set()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                self.close_connection = True
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path)
                proxy._speaks.wait()
                if proxy.is_dead:
                    return
                if (status := proxy.refuse(request)) is not None:
                    self._refuse(status)
                    return
                connection = http.client.HTTPSConnection(proxy._target, context=proxy._context, timeout=400)
                headers = {
                    key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")
                }
                try:
                    connection.connect()
                    with proxy._hold(self.connection, connection.sock):
                        connection.request(self.command, self.path, body or None, headers)
                        response = connection.getresponse()
                        if proxy._count(request, response.status):
                            self._hand_on(request, response)
                except (OSError, http.client.HTTPException):
                    return  # either side has gone
                finally:
                    connection.close()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def _refuse(self, status: int) -> None:
                body = f'{{"kind":"Status","code":{status},"message":"The proxy refuses this."}}'.encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _hand_on(self, request: Request, response: http.client.HTTPResponse) -> None:
                """Hands an answer on in pieces as it comes, so that whoever reads it knows one that was cut off."""
                pieces = response.getheader("Content-Length") is None
                self.send_response_only(response.status)
                for key, value in response.getheaders():
                    if key.lower() not in _HOP_BY_HOP:
                        self.send_header(key, value)
                if pieces:
                    self.send_header("Transfer-Encoding", "chunked")
                self.send_header("Connection", "close")
                self.end_headers()
                while piece := response.read1(1 << 16):
                    proxy._speaks.wait()
                    is_last = proxy.halve(request)
                    if is_last:
                        piece = piece[: len(piece) // 2]
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if pieces else piece)
                    self.wfile.flush()
                    if is_last:
                        break
                if pieces:
                    self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *_: object) -> None:
                """Is silent."""

        return Handler
