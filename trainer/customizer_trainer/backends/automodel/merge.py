"""Adds an adapter to the weights of its base: `merge BASE ADAPTER TARGET`, by `starting`.

The merged files are those of the base, of the same data types; the matrices that are adapted are overwritten where
they lie. So no more than one matrix is in memory, however large the model.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from customizer_contract.errors import ExitCode
from customizer_trainer.storage.model_files import select_weights
from customizer_trainer.storage.tensor_files import read_header

_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def merge(base: Path, adapter: Path, target: Path) -> set[str]:
    """Writes the merged weights into `target`; returns the adapted layers that are not among the base's weights."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    scale = config["lora_alpha"] / config["r"]
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as matrices:
        missing = {name.removesuffix(_DOWN) for name in matrices.keys() if name.endswith(_DOWN)}  # noqa: SIM118
        for file in select_weights(path.name for path in base.iterdir()):
            shutil.copyfile(base / file, target / file)
            if not file.endswith(".safetensors"):
                continue
            tensors = read_header(target / file)
            content = np.memmap(target / file, mode="r+")
            for layer in sorted(missing):
                tensor = tensors.get(f"{layer.removeprefix(_PREFIX)}.weight")
                if tensor is None or tensor.dtype not in _DTYPES:
                    continue
                weight = torch.from_numpy(content[tensor.first : tensor.end]).view(_DTYPES[tensor.dtype])
                down, up = (matrices.get_tensor(layer + matrix).float() for matrix in (_DOWN, _UP))
                weight.copy_(weight.view(tensor.shape).float().addmm_(up, down, alpha=scale).flatten())
                missing.discard(layer)
            content.flush()
    return missing


def main() -> int:
    """Merges; with BAD_INPUT, says what could not be."""
    missing = sorted(merge(*map(Path, sys.argv[1:4])))
    if missing:
        print(missing[0].removeprefix(_PREFIX))  # noqa: T201
    return ExitCode.BAD_INPUT if missing else ExitCode.DONE
