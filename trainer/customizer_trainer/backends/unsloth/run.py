"""Starts the one rank of Unsloth (`training.rank`)."""

import os
import sys
from importlib import import_module
from pathlib import Path

from customizer_trainer.backends.unsloth.settings import build_environment
from customizer_trainer.training.rank import Train, run_rank

_DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""torchrun's variables, by which the libraries would take one process for a distributed training."""


def load(device: str) -> Train:
    """Imports the library, before all those that it patches."""
    for name in _DISTRIBUTED:
        os.environ.pop(name, None)
    os.environ.update(build_environment(device, scratch=str(Path(sys.argv[1]).parent)))
    import_module("unsloth")
    from customizer_trainer.backends.unsloth.rank import train

    return train


if __name__ == "__main__":
    sys.exit(run_rank(load))
