"""Consolidates the sharded weights of a checkpoint: `consolidate MODEL_FOLDER TARGET`, by `starting`."""

import json
import os
import sys
from pathlib import Path

from nemo_automodel.components.checkpoint._backports.consolidate_hf_safetensors import consolidate_safetensors_files

_METADATA = ".hf_metadata"
_AT_ONCE = 4
"""Files that are written side by side; the library holds one tensor of each in memory."""


def main() -> None:
    """Writes `model*.safetensors` and their index into the target, in the data types of the base model."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    dtypes = source / _METADATA / "fqn_to_dtype_mapping.json"
    consolidate_safetensors_files(
        input_dir=str(source),
        output_dir=str(target),
        fqn_to_index_mapping=json.loads((source / _METADATA / "fqn_to_file_index_mapping.json").read_text()),
        num_threads=min(_AT_ONCE, len(os.sched_getaffinity(0))),
        fqn_to_dtype_mapping=json.loads(dtypes.read_text()) if dtypes.exists() else None,
    )
