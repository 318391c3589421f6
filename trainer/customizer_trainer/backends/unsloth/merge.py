"""Brings a trained adapter into the form in which it is published.

`merge lora|merged_16bit|merged_4bit BASE ADAPTER TARGET`, in a process by `starting`.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model, load_peft_weights, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

_DTYPE_FIELDS = ("dtype", "torch_dtype")


def merge(base: Path, adapter: Path, target: Path, *, trust_remote_code: bool) -> None:
    """Writes the merged weights beside the settings that are in `target` already. 32-bit weights become 16-bit ones."""
    model = _load(base, trust_remote_code=trust_remote_code)
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    if merged.dtype == torch.float32:
        merged = merged.to(torch.bfloat16)
    changes: dict[str, Any] = {}
    if _are_apart(merged):
        changes["tie_word_embeddings"] = merged.config.tie_word_embeddings = False
    settings = {path.name: path.read_bytes() for path in target.iterdir()}
    merged.save_pretrained(target)
    # The library writes the configuration anew, in the words of its own version.
    for name, content in settings.items():
        (target / name).write_bytes(content)
    dtype = str(merged.dtype).removeprefix("torch.")
    _change_config(target / "config.json", changes, dtype)


def quantize(target: Path, *, trust_remote_code: bool) -> None:
    """Replaces the weights in `target` by the same in 4 bits."""
    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = _load(target, trust_remote_code=trust_remote_code, quantization_config=how)
    settings = target / "config.json"
    config = settings.read_bytes()
    _remove(target.glob("*.safetensors*"))
    model.save_pretrained(target)
    described = json.loads(settings.read_text())["quantization_config"]
    settings.write_bytes(config)
    _change_config(settings, {"quantization_config": described})


def convert(base: Path, adapter: Path, target: Path, *, trust_remote_code: bool) -> None:
    """Writes an adapter to the base's own weights: what it has become less what it was begun with, in twice the rank.

    Libraries that begin an adapter with a part of the weights take this part out of them. Servers do not.
    """
    config = PeftConfig.from_pretrained(adapter)
    config.inference_mode = False
    model = get_peft_model(_load(base, trust_remote_code=trust_remote_code), config)
    with tempfile.TemporaryDirectory() as begun:
        model.save_pretrained(begun)
        set_peft_model_state_dict(model, load_peft_weights(str(adapter), device="cpu"))
        model.save_pretrained(target, path_initial_model_for_weight_conversion=begun)


def _load(folder: Path, *, trust_remote_code: bool, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=trust_remote_code, **options)


def _are_apart(model: Any) -> bool:
    """Tells whether input and output embeddings differ; they may have been one, and have been trained apart."""
    first, last = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return first is not last and not torch.equal(first, last)


def _change_config(path: Path, changes: dict[str, Any], dtype: str | None = None) -> None:
    config = json.loads(path.read_text())
    for part in (config, config.get("text_config", {})):
        for field in _DTYPE_FIELDS:
            if dtype is not None and field in part:
                part[field] = dtype
    path.write_text(json.dumps({**config, **changes}, indent=2) + "\n")


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink()


def main() -> int:
    """Does what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=("lora", "merged_16bit", "merged_4bit"))
    for name in ("base", "adapter", "target"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--trust-remote-code", action="store_true")
    arguments = parser.parse_args()
    write = convert if arguments.form == "lora" else merge
    write(arguments.base, arguments.adapter, arguments.target, trust_remote_code=arguments.trust_remote_code)
    if arguments.form == "merged_4bit":
        quantize(arguments.target, trust_remote_code=arguments.trust_remote_code)
    return 0
