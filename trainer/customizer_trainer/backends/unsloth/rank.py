"""Drives Unsloth and TRL's trainer with the prepared samples, and tells the supervisor what happens."""

import json
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.backends.unsloth.rope import complete_rope
from customizer_trainer.backends.unsloth.samples import Collator, RowCollator, load_split
from customizer_trainer.datasets.store import IGNORED
from customizer_trainer.training.events import Ended, EventLog, Saved, Saving, Started, Stepped, Validated
from customizer_trainer.training.memory import peak_bytes


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
    trainer.watch = Watch(log, settings["validate_every"], settings["save_every"], settings["save_every_seconds"])
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
        options["rope_scaling"] = complete_rope(config, options["rope_scaling"])
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


class Watch(TrainerCallback):  # type: ignore[misc]
    """Decides after each step whether to validate, to save or to stop, and tells what happened."""

    def __init__(self, log: EventLog, validate_every: int, save_every: int, save_every_seconds: float) -> None:
        self.log = log
        self._validate_every = validate_every
        self._save_every = save_every
        self._save_every_seconds = save_every_seconds
        self._saved_at = time.monotonic()
        self._stopping = False
        self._tokens = 0
        self._wait = 0.0
        self._began = self._saving_at = 0.0
        self._train_loss = 0.0
        self._validated: Validated | None = None

    def stop(self) -> None:
        """Saves and ends after the step that runs."""
        self._stopping = True

    def count(self, tokens: int) -> None:
        """Counts tokens of the step that runs."""
        self._tokens += tokens

    def waited(self, seconds: float) -> None:
        """Counts how long samples took to come."""
        self._wait += seconds

    def saving(self, step: int) -> None:
        """Takes up that a checkpoint is being written."""
        self._saving_at = time.monotonic()
        self.log.tell(Saving(step=step))

    def validated(self, step: int, loss: float) -> None:
        """Takes up a validation. Raises TrainingDiverged when its loss is no number."""
        if not math.isfinite(loss):
            raise CustomizerError(Reason.TRAINING_DIVERGED, f"After step {step} the validation loss is {loss}.")
        self._validated = Validated(step=step, loss=loss)
        self.log.tell(self._validated)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells that everything is loaded, and from which step it goes on."""
        self.log.tell(Started(pid=os.getpid(), step=state.global_step))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the clock of a step."""
        self._tokens, self._began = 0, time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decides what follows the step: no validation when told to stop, since time is short then."""
        step, last = state.global_step, state.global_step >= state.max_steps
        control.should_evaluate = not self._stopping and (last or step % self._validate_every == 0)
        late = time.monotonic() - self._saved_at >= self._save_every_seconds
        control.should_save = self._stopping or control.should_evaluate or step % self._save_every == 0 or late
        control.should_training_stop = self._stopping or last

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Tells a step. Raises TrainingDiverged when its numbers are none."""
        if "loss" not in logs:
            return
        loss, norm = logs["loss"], float(logs["grad_norm"])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            message = f"At step {state.global_step} the loss is {loss}, the norm of the gradient {norm}."
            raise CustomizerError(Reason.TRAINING_DIVERGED, message)
        self._train_loss = loss
        self.log.tell(
            Stepped(
                step=state.global_step,
                epoch=state.epoch,
                loss=loss,
                gradient_norm=norm,
                learning_rate=logs["learning_rate"],
                tokens_per_second=self._tokens / max(time.monotonic() - self._began, 1e-9),
                tokens=self._tokens,
                data_wait_seconds=self._wait,
                memory_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_bytes(),
            )
        )
        self._wait = 0.0

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells that a checkpoint is on the disk."""
        step, validated = state.global_step, self._validated
        self._saved_at = time.monotonic()
        self.log.tell(
            Saved(
                step=step,
                folder=Path(args.output_dir) / f"checkpoint-{step}",
                train_loss=self._train_loss,
                validation_loss=validated.loss if validated is not None and validated.step == step else None,
                seconds=self._saved_at - self._saving_at,
            )
        )


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
