"""Automodel's own command line, with the few lines that it lacks to train on a CPU: `... CONFIG`."""

import os
import sys
import types
from typing import Any

import torch


class _Cuda:
    """CUDA whose device is the CPU."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cuda, name)

    def current_device(self) -> torch.device:
        return torch.device("cpu")


class _Torch(types.ModuleType):
    """torch that takes the CPU for CUDA."""

    cuda = _Cuda()

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def device(kind: Any, *rest: Any) -> torch.device:
        return torch.device("cpu") if kind == "cuda" else torch.device(kind, *rest)


def main() -> int:
    """Trains as the configuration says."""
    from nemo_automodel._transformers import auto_model

    torch.cuda.reset_peak_memory_stats = lambda *_: None
    auto_model.torch = _Torch("torch")
    # As under torchrun: its own launcher counts GPUs.
    os.environ.update({"LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "bench"})
    from nemo_automodel.cli.app import main as cli

    return int(cli() or 0)


if __name__ == "__main__":
    sys.exit(main())
