"""Unsloth and TRL as their guides use them: `python -m tests.bench.unsloth_peer SETTINGS`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["UNSLOTH_FORCE_CPU"] = "1"
import torch
import unsloth  # noqa: F401 (before what it patches)
from datasets import load_dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel

_OURS = {"dataset_kwargs", "remove_unused_columns", "output_dir"}
"""Settings that fit our samples alone."""


class Teller(TrainerCallback):  # type: ignore[misc]
    """Prints the number of each step that is done."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        print(f"step {state.global_step} ", flush=True)


def main() -> None:
    """Trains with the arguments that our trainer gives the library, on the library's own dataset."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    options = {**settings["model"], "dtype": getattr(torch, settings["model"]["dtype"])}
    model, tokenizer = FastLanguageModel.from_pretrained(**options)
    if settings["lora"] is not None:
        model = FastLanguageModel.get_peft_model(model, **settings["lora"])
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**{name: value for name, value in settings["trainer"].items() if name not in _OURS}),
        processing_class=tokenizer,
        train_dataset=load_dataset("json", data_files=settings["data"], split="train"),
        callbacks=[Teller()],
    )
    trainer.train()


if __name__ == "__main__":
    main()
