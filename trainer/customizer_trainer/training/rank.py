"""One rank, whatever the backend: trains, and tells the supervisor how it ended.

torchrun starts it as `-m <the backend's worker> RECIPE EVENTS DEVICE`.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.training.events import EventLog, Failed
from customizer_trainer.training.failures import classify

Train = Callable[[Path, EventLog, str], None]
"""Trains as a recipe says, on `gpu` or `cpu`, and returns when all is done or saved."""


def run_rank(load: Callable[[str], Train]) -> int:
    """Trains with what `load` imports for a device; returns 0 also when told to stop, since all is saved then."""
    recipe, events, device = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    rank = int(os.environ["RANK"])
    log = EventLog(events, rank)
    try:
        # Imported here, so that an image that lacks something is reported like any other failure.
        check_device(device, int(os.environ["LOCAL_RANK"]))
        train = load(device)
        train(recipe, log, device)
    except BaseException as error:  # torch's CheckpointException is no Exception
        reason, message = classify(error)
        log.tell(Failed(rank=rank, at=time.time(), reason=reason, message=message))
        raise
    return 0


def check_device(device: str, local_rank: int) -> None:
    """Raises DeviceUnavailable when a GPU is asked for and none is seen: a job for GPUs never trains on a CPU."""
    from torch import cuda

    if device == "gpu" and cuda.device_count() <= local_rank:
        seen = cuda.device_count()
        raise CustomizerError(Reason.DEVICE_UNAVAILABLE, f"GPU {local_rank} is needed; torch sees {seen}.")
