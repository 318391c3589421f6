"""Drives Automodel's own recipe, and tells the supervisor what happens."""

import dataclasses
import math
import os
import time
from pathlib import Path
from typing import Any

from nemo_automodel.components.config.loader import load_yaml_config, set_enable_user_modules
from nemo_automodel.recipes._typed_config import RecipeConfig
from nemo_automodel.recipes.llm.kd import KnowledgeDistillationRecipeForNextTokenPrediction
from nemo_automodel.recipes.llm.train_ft import TrainFinetuneRecipeForNextTokenPrediction

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer import logs
from customizer_trainer.backends.automodel import checkpoints, cpu, distillation, fp8
from customizer_trainer.backends.automodel.recipe import DISTILLATION, FINE_TUNING
from customizer_trainer.backends.automodel.schedule import ScheduleConfig
from customizer_trainer.training.events import Ended, EventLog, Saved, Saving, Started, Stepped, Validated
from customizer_trainer.training.memory import peak_bytes

_RECIPES = {
    FINE_TUNING: TrainFinetuneRecipeForNextTokenPrediction,
    DISTILLATION: KnowledgeDistillationRecipeForNextTokenPrediction,
}


def train(path: Path, log: EventLog, device: str) -> None:
    """Sets the recipe up, listens to it, and runs it to its end."""
    if device == "cpu":
        cpu.install()
    checkpoints.install()
    distillation.install()
    # The dataset's class is ours; a job cannot name any.
    set_enable_user_modules(True)
    config = RecipeConfig(load_yaml_config(path))
    schedule = config.step_scheduler
    config.__dict__["step_scheduler"] = ScheduleConfig(
        **dataclasses.asdict(schedule), save_every_seconds=config.save_every_seconds
    )
    if config.get("fp8") is not None:
        fp8.check_gpu()
    recipe = _RECIPES[config.recipe](config)
    recipe.setup()
    if config.get("fp8") is not None:
        fp8.check_layers(recipe.model_parts)
    listen(recipe, log)
    log.tell(Started(pid=os.getpid(), step=recipe.step_scheduler.step))
    recipe.run_train_validation_loop()
    log.tell(Ended(step=recipe.step_scheduler.step))


def listen(recipe: Any, log: EventLog) -> None:
    """Wraps the three methods through which the loop reports; the library has no callbacks."""
    train_metrics, val_metrics, save = recipe.log_train_metrics, recipe.log_val_metrics, recipe.save_checkpoint
    is_main = recipe.dist_env.is_main
    answers: dict[int, float | None] = {}

    def on_step(data: Any) -> None:
        metrics = data.metrics
        loss, norm = float(metrics["loss"]), float(metrics["grad_norm"])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            message = f"At step {data.step + 1} the loss is {loss}, the norm of the gradient {norm}."
            raise CustomizerError(Reason.TRAINING_DIVERGED, message)
        logs.bind(step=data.step + 1)
        train_metrics(data)
        if is_main:
            log.tell(
                Stepped(
                    step=data.step + 1,
                    epoch=(data.step + 1) / recipe.step_scheduler.epoch_len,
                    loss=loss,
                    gradient_norm=norm,
                    learning_rate=metrics["lr"],
                    tokens_per_second=metrics["tps"],
                    tokens=int(metrics["num_tokens_per_step"]),
                    data_wait_seconds=recipe.step_scheduler.take_wait(),
                    memory_bytes=int(metrics["mem"] * 2**30) or peak_bytes(),
                )
            )

    def on_validation(name: str, data: Any, logger: Any = None) -> None:
        loss = float(data.metrics["val_loss"])
        if not math.isfinite(loss):
            message = f"After step {data.step + 1} the validation loss is {loss}."
            raise CustomizerError(Reason.TRAINING_DIVERGED, message)
        val_metrics(name, data, logger)
        answers[data.step] = distillation.find_answer_loss(recipe, data.metrics)
        if is_main:
            log.tell(Validated(step=data.step + 1, loss=loss))

    def on_save(epoch: int, step: int, train_loss: float, val_loss: dict[str, float], **options: Any) -> None:
        log.tell(Saving(step=step + 1))
        began = time.monotonic()
        save(epoch, step, train_loss, val_loss, **options)
        folder = Path(recipe.checkpointer.config.checkpoint_dir) / f"epoch_{epoch}_step_{step}"
        validation_loss = val_loss.get("default") if val_loss else None
        log.tell(
            Saved(
                step=step + 1,
                folder=folder,
                train_loss=float(train_loss),
                validation_loss=validation_loss,
                validation_answer_loss=answers.get(step),
                seconds=time.monotonic() - began,
            )
        )

    recipe.log_train_metrics, recipe.log_val_metrics, recipe.save_checkpoint = on_step, on_validation, on_save
