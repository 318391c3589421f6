"""From a checkpoint of Automodel to the files that are published, in Hugging Face layout. Imports no torch."""

import json
import os
import shutil
from pathlib import Path

from customizer_contract.artifact import AdapterReference
from customizer_contract.errors import CustomizerError, ExitCode, Reason
from customizer_contract.job import Job
from customizer_trainer import starting
from customizer_trainer.backends.backend import Base
from customizer_trainer.logs import run_relayed
from customizer_trainer.storage.model_files import select_settings

_ADAPTER_CONFIG, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def assemble(job: Job, checkpoint: Path, base: Base, target: Path) -> AdapterReference | None:
    """Puts what is published into `target`; returns what a server must know of an adapter, None of a model."""
    if job.automodel is None:
        raise ValueError("the job names another backend")
    if job.automodel.training.merges:
        assemble_merged(checkpoint, base, target)
        return None
    if job.automodel.training.adapts:
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


def assemble_merged(checkpoint: Path, base: Base, target: Path) -> None:
    """Puts the base's weights with the adapter added into `target`, beside the base's configuration and tokenizer."""
    target.mkdir(parents=True)
    code, last = _run("merge", base.folder, checkpoint / "model", target)
    if code == ExitCode.BAD_INPUT:
        raise CustomizerError(
            Reason.MODEL_INVALID,
            f"The model's files hold no weight of {last} that the adapter could be added to:"
            " write training.finetuningType: lora.",
            field="automodel.training.finetuningType",
        )
    if code != ExitCode.DONE:
        raise CustomizerError(Reason.CRASHED, f"The adapter of {checkpoint} could not be merged.")
    _copy_settings(base, target)


def assemble_model(checkpoint: Path, base: Base, target: Path) -> None:
    """Puts full weights into `target`, consolidated from all shards, beside the base's configuration and tokenizer."""
    target.mkdir(parents=True)
    if _run("consolidate", checkpoint / "model", target)[0] != ExitCode.DONE:
        raise CustomizerError(Reason.CRASHED, f"The weights of {checkpoint} could not be put together.")
    _copy_settings(base, target)


def _run(module: str, *folders: Path) -> tuple[int, str]:
    # A process of its own: torch and its memory are gone when it ends.
    command = starting.build_command(f"customizer_trainer.backends.automodel.{module}", *map(str, folders))
    return run_relayed(command, os.environ, module)


def _copy_settings(base: Base, target: Path) -> None:
    names = [path.name for path in base.folder.iterdir() if path.is_file()]
    for name in select_settings(names, code=True):
        shutil.copyfile(base.folder / name, target / name)
