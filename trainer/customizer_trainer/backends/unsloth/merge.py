"""Merges an adapter into its base model: `python -m customizer_trainer.backends.unsloth.merge BASE ADAPTER TARGET`."""

import argparse
import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

_DTYPE_FIELDS = ("dtype", "torch_dtype")


def merge(base: Path, adapter: Path, target: Path, *, trust_remote_code: bool) -> None:
    """Writes the merged weights beside the settings that are in `target` already. 32-bit weights become 16-bit ones."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto", trust_remote_code=trust_remote_code)
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    if merged.dtype == torch.float32:
        merged = merged.to(torch.bfloat16)
    settings = {path.name: path.read_bytes() for path in target.iterdir()}
    merged.save_pretrained(target)
    # The library writes the configuration anew, in the words of its own version.
    for name, content in settings.items():
        (target / name).write_bytes(content)
    _name_dtype(target / "config.json", str(merged.dtype).removeprefix("torch."))


def _name_dtype(path: Path, dtype: str) -> None:
    config = json.loads(path.read_text())
    for part in (config, config.get("text_config", {})):
        for field in _DTYPE_FIELDS:
            if field in part:
                part[field] = dtype
    path.write_text(json.dumps(config, indent=2) + "\n")


def main() -> int:
    """Merges what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("base", "adapter", "target"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--trust-remote-code", action="store_true")
    arguments = parser.parse_args()
    merge(arguments.base, arguments.adapter, arguments.target, trust_remote_code=arguments.trust_remote_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
