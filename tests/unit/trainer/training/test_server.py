import socket
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from customizer_contract.progress import Progress
from customizer_trainer.training.events import Stepped
from customizer_trainer.training.memory import count_kills
from customizer_trainer.training.server import ProgressServer
from customizer_trainer.training.state import Training

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def get(port: int, path: str, host: str = "127.0.0.1") -> str:
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
        body: bytes = answer.read()
        return body.decode()


def test_progress_and_metrics_are_served_as_they_are_now() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    training = Training.begin(attempt=2, total_steps=10, resumed_from=None, now=NOW)
    server = ProgressServer(port, training)
    try:
        assert Progress.model_validate_json(get(port, "/progress")) == training.progress
        if socket.has_dualstack_ipv6():
            assert Progress.model_validate_json(get(port, "/progress", "[::1]")) == training.progress
        step = Stepped(step=3, epoch=0.5, loss=1.5, gradient_norm=2.0, learning_rate=0.1, tokens_per_second=100.0)
        server.show(training.apply(step, NOW))
        told = Progress.model_validate_json(get(port, "/progress"))
        assert told.train_loss == 1.5
        assert told.idle_seconds is not None
        assert told.idle_seconds > 0, "the step was told long ago"
        metrics = get(port, "/metrics").splitlines()
        assert "customizer_training_step 3.0" in metrics
        assert "customizer_training_gradient_norm 2.0" in metrics
        with pytest.raises(urllib.error.HTTPError):
            get(port, "/")
    finally:
        server.close()


def test_kills_for_memory_are_counted_where_somebody_counts(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    assert count_kills(events) == 0
    events.write_text("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n")
    assert count_kills(events) == 1
