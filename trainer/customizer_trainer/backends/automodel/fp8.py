"""Whether products of matrices are computed in 8 bits when that is asked for: nemo_automodel 0.7.0 may only warn."""

from collections.abc import Iterable
from typing import Any

import torch
from nemo_automodel.components.quantization.fp8 import verify_fp8_conversion

from customizer_contract.errors import CustomizerError, Reason

_CAPABILITY = (8, 9)


def check_gpu() -> None:
    """Raises DeviceUnavailable on a GPU that cannot."""
    capability = torch.cuda.get_device_capability()
    if capability < _CAPABILITY:
        have, need = (".".join(map(str, version)) for version in (capability, _CAPABILITY))
        message = f"precision fp8 needs GPUs of compute capability {need}; this one has {have}. Use bf16."
        raise CustomizerError(Reason.DEVICE_UNAVAILABLE, message)


def check_layers(parts: Iterable[Any]) -> None:
    """Raises ArchitectureUnsupported when no layer of the model computes in 8 bits."""
    # fp8.py:246 returns the model as it was when it cannot be converted.
    if not any(verify_fp8_conversion(part)["success"] for part in parts):
        message = "No layer of the model could be made to compute in 8 bits: use precision bf16."
        raise CustomizerError(Reason.ARCHITECTURE_UNSUPPORTED, message, field="automodel.training.precision")
