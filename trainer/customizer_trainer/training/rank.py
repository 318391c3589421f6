"""One rank, whatever the backend: trains, and tells the supervisor how it ended.

torchrun starts it as `-m <the backend's worker> RECIPE EVENTS DEVICE`.
"""

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer import logs
from customizer_trainer.starting import uncollected
from customizer_trainer.training.events import EventLog, Failed
from customizer_trainer.training.failures import classify

log = logging.getLogger(__name__)

Train = Callable[[Path, EventLog, str], None]
"""Trains as a recipe says, on `gpu` or `cpu`, and returns when all is done or saved."""


def run_rank(load: Callable[[str], Train]) -> int:
    """Trains with what `load` imports for a device; returns 0 also when told to stop, since all is saved then."""
    recipe, events, device = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    rank = int(os.environ["RANK"])
    # What all ranks say alike is heard once.
    logs.log_as_json(logging.INFO if rank == 0 else logging.WARNING)
    logs.bind(rank=rank)
    told = EventLog(events, rank)
    try:
        # Imported here, so that an image that lacks something is reported like any other failure.
        check_device(device, int(os.environ["LOCAL_RANK"]))
        with uncollected():
            train = load(device)
        train(recipe, told, device)
    except BaseException as error:  # torch's CheckpointException is no Exception
        reason, message = classify(error)
        log.exception("%s", reason)
        # Where the disk is full there may be no room for it; then the supervisor sees that by itself.
        told.tell(Failed(rank=rank, at=time.time(), reason=reason, message=message))
        return 1
    return 0


def check_device(device: str, local_rank: int) -> None:
    """Raises DeviceUnavailable when a GPU is asked for and none is seen: a job for GPUs never trains on a CPU."""
    if device == "cpu":
        return
    from torch import cuda

    if (seen := cuda.device_count()) <= local_rank:
        raise CustomizerError(Reason.DEVICE_UNAVAILABLE, f"GPU {local_rank} is needed; torch sees {seen}.")
