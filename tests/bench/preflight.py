"""Reading and encoding a dataset: preflight against `datasets` and the tokenizer, each in a process of its own."""

import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

WORDS = (
    "the",
    "parcel",
    "invoice",
    "network",
    "of",
    "answer",
    "model",
    "to",
    "serve",
    "quickly",
    "customer",
    "why",
    "late",
)


def write_records(path: Path, megabytes: int) -> None:
    """Writes prompt/completion records, a few hundred characters each."""
    chance = random.Random(0)
    with path.open("w") as file:
        while file.tell() < megabytes * 1_000_000:
            text = [" ".join(chance.choices(WORDS, k=n)) for n in (chance.randint(10, 120), chance.randint(1, 20))]
            file.write(json.dumps({"prompt": text[0], "completion": f" {text[1]}"}) + "\n")


def ours(model: Path, data: Path, folder: Path) -> None:
    """Checks, encodes and stores all records as preflight does."""
    from transformers import AutoTokenizer

    from customizer_trainer.datasets.prepare import Data, Preparation, prepare
    from customizer_trainer.datasets.prompts import Columns

    tokenizer = AutoTokenizer.from_pretrained(model)
    how = Preparation(columns=Columns(), max_length=2048, validation_share=0.1, seed=1, with_tokens=False)
    prepare(Data(training={data.name: data}, validation={}), lambda _: tokenizer, how, folder)


def datasets_library(model: Path, data: Path, folder: Path) -> None:
    """Does the same with the library most people use: no checks, no report."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        prompts = tokenizer(batch["prompt"])["input_ids"]
        completions = tokenizer(batch["completion"], add_special_tokens=False)["input_ids"]
        pairs = list(zip(prompts, completions, strict=True))
        eos = tokenizer.eos_token_id
        return {
            "input_ids": [[*prompt, *completion, eos] for prompt, completion in pairs],
            "labels": [[-100] * len(prompt) + [*completion, eos] for prompt, completion in pairs],
        }

    records = load_dataset("json", data_files=str(data), split="train", cache_dir=str(folder))
    records.map(encode, batched=True, remove_columns=records.column_names)


WAYS = {"customizer preflight": ours, "datasets + tokenizer": datasets_library}


def main() -> None:
    """Runs one way and prints seconds and peak memory in MiB: `python -m tests.bench.preflight WAY MODEL DATA`."""
    way, model, data = sys.argv[1:]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        WAYS[way](Path(model), Path(data), Path(folder))
    seconds = time.monotonic() - started
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


if __name__ == "__main__":
    main()
