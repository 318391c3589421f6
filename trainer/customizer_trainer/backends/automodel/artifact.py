"""From a checkpoint of Automodel to the files that are published, in Hugging Face layout. Imports no torch."""

import json
import os
import shutil
import sys
from pathlib import Path

from customizer_contract.artifact import AdapterReference
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_trainer.backends.backend import Base
from customizer_trainer.logs import run_relayed
from customizer_trainer.storage.model_files import select_settings

_ADAPTER_CONFIG, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def assemble(job: Job, checkpoint: Path, base: Base, target: Path) -> AdapterReference | None:
    """Puts what is published into `target`; returns what a server must know of an adapter, None of a model."""
    if job.outline.adapts:
        return assemble_adapter(checkpoint, base, target)
    assemble_model(checkpoint, base, target)
    return None


def assemble_adapter(checkpoint: Path, base: Base, target: Path) -> AdapterReference:
    """Puts an adapter in PEFT's layout into `target`; the base model is named as the user named it."""
    target.mkdir(parents=True)
    config = json.loads((checkpoint / "model" / _ADAPTER_CONFIG).read_text())
    config["base_model_name_or_path"] = base.name
    (target / _ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    shutil.copyfile(checkpoint / "model" / _ADAPTER_WEIGHTS, target / _ADAPTER_WEIGHTS)
    modules = {str(module).rpartition(".")[2] for module in config["target_modules"]}
    return AdapterReference(rank=config["r"], alpha=config["lora_alpha"], target_modules=sorted(modules))


def assemble_model(checkpoint: Path, base: Base, target: Path) -> None:
    """Puts full weights into `target`, consolidated from all shards, beside the base's configuration and tokenizer."""
    target.mkdir(parents=True)
    command = [sys.executable, "-P", "-m", "customizer_trainer.backends.automodel.consolidate"]
    # A process of its own: torch and its memory are gone when it ends.
    code, _ = run_relayed([*command, str(checkpoint / "model"), str(target)], os.environ, "consolidate")
    if code != 0:
        raise CustomizerError(Reason.CRASHED, f"The weights of {checkpoint} could not be put together.")
    names = [path.name for path in base.folder.iterdir() if path.is_file()]
    for name in select_settings(names, code=True):
        shutil.copyfile(base.folder / name, target / name)
