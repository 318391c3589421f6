"""Runs Automodel's ranks as torchrun would, from one server process that has imported the library once."""

import multiprocessing
import os
import traceback
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

from customizer_trainer.training.events import EventLog, EventReader, Stepped, Validated
from tests.support.ports import free_port

_LIBRARY = "customizer_trainer.backends.automodel.rank"
_PATIENCE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Course:
    """What rank 0 told of a training."""

    losses: list[float]
    gradient_norms: list[float]
    validation_losses: list[float]


def context() -> ForkServerContext:
    """Returns a context whose processes start with the library imported."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([_LIBRARY])
    return server


def train(server: ForkServerContext, recipe: Path, events: Path, size: int) -> Course:
    """Trains by a recipe on `size` processes; fails with the words of the first rank that did."""
    events.mkdir()
    port = str(free_port())
    ranks = [server.Process(target=_rank, args=(recipe, events, rank, size, port)) for rank in range(size)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(_PATIENCE_SECONDS)
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
    failures = "\n".join(path.read_text() for path in sorted(events.glob("*.failure")))
    assert codes == [0] * size, failures or codes
    return read(events)


def read(events: Path) -> Course:
    """Reads what rank 0 told."""
    told = [event for rank, event in EventReader(events).news() if rank == 0]
    steps = [event for event in told if isinstance(event, Stepped)]
    return Course(
        losses=[event.loss for event in steps],
        gradient_norms=[event.gradient_norm for event in steps],
        validation_losses=[event.loss for event in told if isinstance(event, Validated)],
    )


def _rank(recipe: Path, events: Path, rank: int, size: int, port: str) -> None:
    os.environ.update(
        {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "TORCHELASTIC_RUN_ID": "test",
            "HF_HUB_OFFLINE": "1",
        }
    )
    import torch

    from customizer_trainer.backends.automodel.rank import train

    torch.set_num_threads(1)
    try:
        train(recipe, EventLog(events, rank), "cpu")
    except BaseException:
        (events / f"rank-{rank}.failure").write_text(f"rank {rank}: {traceback.format_exc()}")
        raise
