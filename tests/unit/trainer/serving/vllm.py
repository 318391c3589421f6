"""A server that lists, loads and unloads adapters by vLLM's calls."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONG = 30.0
"""Seconds: longer than anybody waits."""


class Vllm:
    """Its adapters by name, with the path that each was loaded from."""

    def __init__(self) -> None:
        self.loaded: dict[str, str] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuses: set[str] = set()
        self.says = "Paris"
        self.key: str | None = None
        self.answers: dict[str, str] = {}
        """What it says to a certain prompt, or to the last words of a conversation."""
        self.limit = 1000
        """The longest prompt that it takes."""
        self.is_free = threading.Event()
        """While it is not set, nobody is told what is loaded."""
        self.is_free.set()
        self.looks = 0
        """How often it was asked what is loaded."""
        self.lists = 200
        """The status with which it tells."""
        self._server = self._listen(0)

    @property
    def port(self) -> int:
        """Its port."""
        return self._server.server_address[1]

    def restart(self) -> None:
        """Forgets everything and answers again, as one that was killed does."""
        self.close()
        self.loaded.clear()
        self._server = self._listen(self.port)

    def close(self) -> None:
        """Ends it."""
        self.is_free.set()
        self._server.shutdown()
        self._server.server_close()

    def _listen(self, port: int) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def list_models(self) -> dict[str, Any]:
        """Answers `/v1/models`."""
        adapters = [{"id": name, "root": path, "parent": "base"} for name, path in self.loaded.items()]
        return {"data": [{"id": "base", "root": "/model-store/model", "parent": None}, *adapters]}

    def call(self, what: str, body: dict[str, Any]) -> int:
        """Answers a call."""
        self.calls.append((what, body))
        name = body.get("lora_name", "")
        if name in self.refuses:
            return 500
        if what == "unload_lora_adapter":
            return 200 if self.loaded.pop(name, None) else 404
        if name in self.loaded and not body["load_inplace"]:
            return 400
        self.loaded[name] = body["lora_path"]
        return 200

    def complete(self, prompt: str | list[int]) -> tuple[int, dict[str, Any]]:
        """Answers `/v1/completions`; of tokens with their logarithms of probabilities, and with that of one more."""
        if len(prompt) > self.limit:
            return 400, {"error": "too long"}
        if isinstance(prompt, list):
            told = [None, *(self.log_probability(token) for token in prompt[1:]), -99.0]
            return 200, {"choices": [{"logprobs": {"token_logprobs": told}}]}
        return 200, {"choices": [{"text": self.answers.get(prompt, self.says)}]}

    def log_probability(self, token: int) -> float:
        """Tells how likely it finds a token, whatever is before it."""
        return -(token % 7) / 10

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.looks += 1
                server.is_free.wait(LONG)
                if self._is_allowed():
                    self._answer(server.lists, server.list_models())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self._is_allowed():
                    return
                if self.path == "/v1/completions":
                    self._answer(*server.complete(body["prompt"]))
                elif self.path == "/v1/chat/completions":
                    said = server.answers.get(body["messages"][-1]["content"], server.says)
                    self._answer(200, {"choices": [{"message": {"content": said}}]})
                else:
                    self._answer(server.call(self.path.rpartition("/")[2], body), {"said": "something"})

            def _is_allowed(self) -> bool:
                allowed = server.key is None or self.headers["Authorization"] == f"Bearer {server.key}"
                if not allowed:
                    self._answer(401, {"error": "Unauthorized"})
                return allowed

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                """Is silent."""

        return Handler
