"""From a checkpoint of the trainer to the files that are published, in Hugging Face layout. Imports no torch."""

import json
import os
import shutil
from pathlib import Path
from typing import Literal

from customizer_contract.artifact import AdapterReference
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_contract.rope import RopeScaling
from customizer_trainer import starting
from customizer_trainer.backends.backend import Base
from customizer_trainer.backends.rope import scale_config
from customizer_trainer.logs import run_relayed
from customizer_trainer.storage.model_files import select_settings, select_weights
from customizer_trainer.storage.tensor_files import read_header

Form = Literal["lora", "merged_16bit", "merged_4bit"]

_FROM_BASE = ("pissa", "olora")
_ADAPTER_CONFIG, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def assemble(job: Job, checkpoint: Path, base: Base, target: Path) -> AdapterReference | None:
    """Puts what is published into `target`; returns what a server must know of an adapter, None of a model."""
    if job.unsloth is None:
        raise ValueError("the job names another backend")
    form: Form = job.unsloth.output.save_method
    rope, remote = job.unsloth.model.rope_scaling, job.model.trust_remote_code
    if not job.outline.adapts:
        assemble_model(checkpoint, base, target, rope)
        return None
    if form == "lora":
        if _changes_base(checkpoint):
            checkpoint = rewrite_weights(form, checkpoint, base, target.with_name("plain"), trust_remote_code=remote)
        return assemble_adapter(checkpoint, base, target)
    target.mkdir(parents=True)
    _copy_settings(base, target, rope)
    rewrite_weights(form, checkpoint, base, target, trust_remote_code=remote)
    return None


def assemble_adapter(checkpoint: Path, base: Base, target: Path) -> AdapterReference:
    """Puts an adapter in PEFT's layout into `target`; the base model is named as the user named it."""
    target.mkdir(parents=True)
    config = json.loads((checkpoint / _ADAPTER_CONFIG).read_text())
    config["base_model_name_or_path"] = base.name
    (target / _ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    shutil.copyfile(checkpoint / _ADAPTER_WEIGHTS, target / _ADAPTER_WEIGHTS)
    modules = find_modules(target / _ADAPTER_WEIGHTS)
    return AdapterReference(rank=config["r"], alpha=config["lora_alpha"], target_modules=modules)


def find_modules(weights: Path) -> list[str]:
    """Lists the layers that an adapter adapts, by its weights: the configuration may hold a pattern instead."""
    return sorted({name.split(".lora_A.")[0].rpartition(".")[2] for name in read_header(weights) if ".lora_A." in name})


def assemble_model(checkpoint: Path, base: Base, target: Path, rope: RopeScaling | None = None) -> None:
    """Puts full weights into `target`, beside the base's configuration and tokenizer."""
    target.mkdir(parents=True)
    for name in select_weights(path.name for path in checkpoint.iterdir()):
        shutil.copyfile(checkpoint / name, target / name)
    _copy_settings(base, target, rope)


def rewrite_weights(form: Form, checkpoint: Path, base: Base, target: Path, *, trust_remote_code: bool) -> Path:
    """Brings the adapter of a checkpoint into the form in which it is published, and returns `target`.

    A model is the base's own weights with the adapter added, not those that were quantized in order to train beside
    them. An adapter is one to the base's own weights, whatever those were that it was trained with.
    """
    target.mkdir(parents=True, exist_ok=True)
    command = starting.build_command("customizer_trainer.backends.unsloth.merge")
    arguments = [
        form,
        str(base.folder),
        str(checkpoint),
        str(target),
        *(["--trust-remote-code"] if trust_remote_code else []),
    ]
    # A process of its own: torch and its memory are gone when it ends.
    code, _ = run_relayed([*command, *arguments], {**os.environ, "HF_HUB_OFFLINE": "1"}, "merge")
    if code != 0:
        raise CustomizerError(Reason.CRASHED, f"The adapter of {checkpoint} could not be merged.")
    return target


def _changes_base(checkpoint: Path) -> bool:
    """Tells whether the adapter was begun with a part of the base's weights, which was taken out of these."""
    config = json.loads((checkpoint / _ADAPTER_CONFIG).read_text())
    return config.get("init_lora_weights") in _FROM_BASE


def _copy_settings(base: Base, target: Path, rope: RopeScaling | None) -> None:
    names = [path.name for path in base.folder.iterdir() if path.is_file()]
    for name in select_settings(names, code=True):
        shutil.copyfile(base.folder / name, target / name)
    if rope is not None:
        config = target / "config.json"
        config.write_text(json.dumps(scale_config(json.loads(config.read_text()), rope), indent=2) + "\n")
