"""`/progress` and `/metrics` of a running attempt, on node 0."""

import dataclasses
import errno
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from customizer_trainer.training.state import Training

PREFIX = "customizer_training_"
_GAUGES = {
    "step": "Optimizer steps done.",
    "total_steps": "Optimizer steps of the whole training.",
    "epoch": "Passes over the training data.",
    "train_loss": "Mean loss a target token of the newest step, in nats.",
    "validation_loss": "Mean loss a target token of the newest validation, in nats.",
    "learning_rate": "Learning rate of the newest step.",
    "gradient_norm": "Norm of the newest step's gradient, before clipping.",
    "tokens_per_second": "Tokens a second over all devices, padding excluded.",
    "step_seconds": "Median duration of the newest steps.",
    "checkpoint_step": "Step of the newest complete checkpoint in S3.",
    "eta_seconds": "Seconds that the rest will take.",
    "memory_bytes": "Most memory that rank 0 has held at once: of its GPU, or of the host on a CPU.",
}
_COUNTERS = {
    "tokens": "Tokens trained in this attempt, padding excluded.",
    "data_wait_seconds": "Seconds of this attempt in which rank 0 waited for its samples.",
}


class Metrics(Collector):
    """A training in the words of Prometheus."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def collect(self) -> Iterator[Metric]:
        """Yields what is known now."""
        training = self.training
        values = {**training.progress.model_dump(), **dataclasses.asdict(training)}
        for name, text in _GAUGES.items():
            if values[name] is not None:
                yield GaugeMetricFamily(f"{PREFIX}{name}", text, values[name])
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"{PREFIX}{name}", text, values[name])
        words = "Checkpoints written in this attempt, and how long training stood still for them."
        yield SummaryMetricFamily(f"{PREFIX}checkpoint_seconds", words, training.saves, training.save_seconds)


class _DualStack(ThreadingHTTPServer):
    """Answers on IPv6 and on IPv4: a cluster gives its pods addresses of either, or of both."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _listen(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return _DualStack(("::", port), handler)
    except OSError as error:
        # Nodes may have IPv6 switched off.
        if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            raise
        return ThreadingHTTPServer(("", port), handler)


class ProgressServer:
    """Serves the state that it was given last."""

    def __init__(self, port: int, training: Training) -> None:
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self._metrics = Metrics(training)
        self._registry.register(self._metrics)
        self.show(training)
        self._server = _listen(port, self._handler())
        threading.Thread(target=self._server.serve_forever, name="progress", daemon=True).start()

    def show(self, training: Training) -> None:
        """Serves this state from now on."""
        with self._lock:
            self._training = self._metrics.training = training

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()

    def _tell(self) -> bytes:
        with self._lock:
            training = self._training
        return (
            training.progress.model_copy(update={"idle_seconds": training.idle(datetime.now(UTC))}).to_json().encode()
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/progress":
                    self._answer("application/json", server._tell())
                elif self.path == "/metrics":
                    with server._lock:
                        self._answer(CONTENT_TYPE_LATEST, generate_latest(server._registry))
                else:
                    self.send_error(404)

            def _answer(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Is silent: it is asked every few seconds."""

        return Handler
