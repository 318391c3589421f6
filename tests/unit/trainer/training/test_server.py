import socket
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from customizer_contract.progress import Progress
from customizer_trainer.training.events import Event, Saved, Saving, Stepped
from customizer_trainer.training.memory import count_kills
from customizer_trainer.training.server import PREFIX, ProgressServer
from customizer_trainer.training.state import Training
from tests.support.ports import free_port

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def get(port: int, path: str, host: str = "127.0.0.1") -> str:
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
        body: bytes = answer.read()
        return body.decode()


def stepped(step: int) -> Stepped:
    return Stepped(
        step=step,
        epoch=0.5,
        loss=1.5,
        gradient_norm=2.0,
        learning_rate=0.1,
        tokens_per_second=100.0,
        tokens=250,
        data_wait_seconds=0.25,
        memory_bytes=4096,
    )


def saved(step: int) -> tuple[Event, Event]:
    return Saving(step=step), Saved(step=step, folder=Path("/c"), train_loss=1.5, seconds=3.5)


def test_progress_and_metrics_are_served_as_they_are_now() -> None:
    port = free_port()
    training = Training.begin(attempt=2, total_steps=10, resumed_from=None, now=NOW)
    server = ProgressServer(port, training)
    try:
        assert Progress.model_validate_json(get(port, "/progress")) == training.progress
        if socket.has_dualstack_ipv6():
            assert Progress.model_validate_json(get(port, "/progress", "[::1]")) == training.progress
        for number, event in enumerate([stepped(2), stepped(3), *saved(3)]):
            training = training.apply(event, NOW + timedelta(seconds=number))
        server.show(training)
        told = Progress.model_validate_json(get(port, "/progress"))
        assert told.train_loss == 1.5
        assert told.idle_seconds is not None
        assert told.idle_seconds > 0, "the step was told long ago"
        metrics = get(port, "/metrics").splitlines()
        assert [line.removeprefix(PREFIX) for line in metrics if not line.startswith("#")] == [
            "step 3.0",
            "total_steps 10.0",
            "epoch 0.5",
            "train_loss 1.5",
            "learning_rate 0.1",
            "gradient_norm 2.0",
            "tokens_per_second 100.0",
            "step_seconds 1.0",
            "memory_bytes 4096.0",
            "tokens_total 500.0",
            "data_wait_seconds_total 0.5",
            "checkpoint_seconds_count 1.0",
            "checkpoint_seconds_sum 3.5",
        ]
        with pytest.raises(urllib.error.HTTPError):
            get(port, "/")
    finally:
        server.close()


@pytest.mark.parametrize(
    "told",
    [
        pytest.param("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n", id="version 2"),
        pytest.param("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", id="version 1"),
    ],
)
def test_kills_for_memory_are_counted_where_somebody_counts(tmp_path: Path, told: str) -> None:
    nowhere, counters = tmp_path / "memory.events", tmp_path / "memory.oom_control"
    assert count_kills([nowhere, counters]) == 0
    counters.write_text(told)
    assert count_kills([nowhere, counters]) == 1
