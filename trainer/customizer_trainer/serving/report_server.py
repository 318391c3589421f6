"""`/report` and `/ready` of a server's sidecar."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from customizer_contract.adapters import SidecarReport


class ReportServer:
    """Serves the report that it was given last."""

    def __init__(self, port: int) -> None:
        self._report = b"{}"
        self._is_ready = False
        self._server = ThreadingHTTPServer(("", port), self._handler())
        threading.Thread(target=self._server.serve_forever, name="report", daemon=True).start()

    @property
    def port(self) -> int:
        """The port, where a free one was asked for."""
        return self._server.server_address[1]

    def show(self, report: SidecarReport, *, is_ready: bool) -> None:
        """Serves this report from now on."""
        self._report, self._is_ready = report.to_json().encode(), is_ready

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/report":
                    self._answer(200, server._report)
                elif self.path == "/ready":
                    self._answer(200 if server._is_ready else 503, b"{}")
                else:
                    self.send_error(404)

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Is silent: it is asked every few seconds."""

        return Handler
