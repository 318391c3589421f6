"""Drives Unsloth and TRL's trainer with the prepared samples, and tells the supervisor what happens."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.rope import RopeScaling
from customizer_trainer.backends.rope import complete_rope
from customizer_trainer.backends.unsloth.samples import Collator, RowCollator, load_split
from customizer_trainer.backends.unsloth.watch import Watch
from customizer_trainer.datasets.store import IGNORED
from customizer_trainer.training.events import Ended, EventLog


def train(path: Path, log: EventLog, device: str) -> None:
    """Loads the model, trains and validates, saves, and ends early when told to stop."""
    settings = json.loads(path.read_text())
    model, tokenizer = load_model(settings["model"], settings["lora"])
    samples, scratch = Path(settings["samples"]), path.parent / "datasets"
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    collate = Collator(pad)
    arguments = SFTConfig(**settings["trainer"])
    trainer = Trainer(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=load_split(samples, "training", scratch, settings["pack_size"]),
        data_collator=collate if settings["pack_size"] is None else RowCollator(),
    )
    if settings["model"]["dtype"] == "float32":
        _widen(trainer.model)
    validation = load_split(samples, "validation", scratch)
    trainer.watch = Watch(
        log,
        validate_every=settings["validate_every"],
        save_every=settings["save_every"],
        save_every_seconds=settings["save_every_seconds"],
        scales=arguments.fp16,
    )
    trainer.validation = DataLoader(
        validation, batch_size=arguments.per_device_train_batch_size, shuffle=False, collate_fn=collate
    )
    trainer.add_callback(trainer.watch)
    signal.signal(signal.SIGTERM, lambda number, frame: trainer.watch.stop())
    trainer.train(resume_from_checkpoint=settings["resume"])
    log.tell(Ended(step=trainer.state.global_step))


def load_model(options: dict[str, Any], lora: dict[str, Any] | None) -> tuple[Any, Any]:
    """Returns model and tokenizer. Raises DeviceUnavailable if the weights are not quantized as they should be."""
    dtype = options["dtype"]
    options = {**options, "dtype": dtype if dtype is None else getattr(torch, dtype)}
    if "rope_scaling" in options:
        config = json.loads((Path(options["model_name"]) / "config.json").read_text())
        options["rope_scaling"] = complete_rope(config, RopeScaling(**options["rope_scaling"]))
    model, tokenizer = FastLanguageModel.from_pretrained(**options)
    if options["load_in_4bit"] and not any(type(module).__name__ == "Linear4bit" for module in model.modules()):
        raise CustomizerError(
            Reason.MODEL_INVALID, "The model cannot be loaded in 4 bits on this machine: write loadIn4bit: false."
        )
    if lora is not None:
        model = FastLanguageModel.get_peft_model(model, **lora)
    return model, tokenizer


def _widen(model: Any) -> None:
    """Trains in 32 bits what the library has made 16 bits wide beside quantized weights: activations have 32."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


class Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, with a validation loss that is the mean over tokens, whatever the batches."""

    watch: Watch
    validation: DataLoader[dict[str, torch.Tensor]]

    def get_batch_samples(self, *args: Any, **options: Any) -> Any:
        """Fetches the batches of a step, and measures how long they take to come."""
        began = time.monotonic()
        batches = super().get_batch_samples(*args, **options)
        self.watch.waited(time.monotonic() - began)
        return batches

    def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **options: Any) -> torch.Tensor:
        """Counts the tokens of a batch, and trains on it."""
        self.watch.count(
            int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else inputs["labels"].numel()
        )
        # With a cache for generation the models would not look at positions to tell samples apart.
        return super().training_step(model, {**inputs, "use_cache": False}, *args, **options)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Computes the mean loss of a learned token of the validation samples."""
        total, count = 0.0, 0
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            for batch in self.validation:
                inputs = {name: tensor.to(self.args.device) for name, tensor in batch.items()}
                learned = int((inputs["labels"] != IGNORED).sum())
                total += float(self.model(**inputs).loss) * learned
                count += learned
        self.model.train()
        self.control.should_evaluate = False
        self.watch.validated(self.state.global_step, total / count)
        return {"eval_loss": total / count}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.watch.saving(self.state.global_step)
        super()._save_checkpoint(model, trial)
