"""Loads a result as a user would and computes the loss of some rows, in a process by `starting`.

Only transformers and peft, whatever has trained it.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from customizer_contract.rope import RopeScaling
from customizer_trainer.backends.rope import complete_rope
from customizer_trainer.datasets.prepare import STORE, VALIDATION
from customizer_trainer.datasets.store import IGNORED, SampleStore, read_indices
from customizer_trainer.reloading import Reloaded, Row, pick_rows
from customizer_trainer.starting import uncollected

_ROOM = 1.3
"""Memory that a model takes while it is loaded and computes, by the size of its files."""
_CGROUP = Path("/sys/fs/cgroup")


def reload(arguments: argparse.Namespace) -> Reloaded:
    """Returns the losses, or why the result was not loaded."""
    weights = [
        path for folder in (arguments.artifact, arguments.base) if folder for path in folder.glob("*.safetensors")
    ]
    needed, room = _ROOM * sum(path.stat().st_size for path in weights), _memory(arguments.device)
    if needed > room:
        return Reloaded(skipped=f"{needed / 2**30:.1f} GiB do not fit into the {room / 2**30:.1f} GiB of this pod")
    model = _load(arguments)
    store = SampleStore(arguments.samples / STORE)
    indices = [int(number) for number in read_indices(arguments.samples / f"{Path(VALIDATION).stem}.npy")]
    return Reloaded(
        rows=[_lose(model, store.tokens(number), store.labels(number)) for number in pick_rows(indices)],
        all_rows=len(pick_rows(indices)) == len(indices),
    )


def _load(arguments: argparse.Namespace) -> Any:
    where: dict[str, Any] = {"device_map": "auto"} if arguments.device == "gpu" else {}
    trust = arguments.trust_remote_code
    folder = arguments.base or arguments.artifact
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    if arguments.rope_scaling is not None:
        document = json.loads((folder / "config.json").read_text())
        config.get_text_config().rope_parameters = complete_rope(document, arguments.rope_scaling)
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype="auto", trust_remote_code=trust, **where)
    if arguments.base:
        with uncollected():
            from peft import PeftModel

        model = PeftModel.from_pretrained(model, arguments.artifact)
    return model.eval()


def _lose(model: Any, tokens: list[int], labels: list[int]) -> Row:
    # Nothing comes before the first token, so that it is not learned.
    known = torch.tensor([[IGNORED, *labels[1:]]], device=model.device)
    with torch.no_grad():
        loss = model(input_ids=torch.tensor([tokens], device=model.device), labels=known).loss
    return Row(loss=float(loss), tokens=int((known != IGNORED).sum()))


def _memory(device: str) -> float:
    """Returns the bytes that are free: of all GPUs, or of this container."""
    if device == "gpu":
        return float(sum(torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())))
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lines = Path("/proc/meminfo").read_text().splitlines()
    known = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    free = known[0] if known else free
    limit, used = (_CGROUP / name for name in ("memory.max", "memory.current"))
    if limit.exists() and limit.read_text().strip() != "max":
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return float(free)


def main() -> int:
    """Writes what was found where the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("artifact", "samples", "target"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--device", choices=("gpu", "cpu"), required=True)
    parser.add_argument("--rope-scaling", type=RopeScaling.model_validate_json)
    parser.add_argument("--trust-remote-code", action="store_true")
    arguments = parser.parse_args()
    arguments.target.write_text(reload(arguments).to_json())
    return 0
