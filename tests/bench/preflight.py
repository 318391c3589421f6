"""Reading and encoding a dataset: preflight against `datasets` and the tokenizer, each in a process of its own."""

import json
import random
import sys
import tempfile
from pathlib import Path

_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_VOCABULARY = 30_000
_OTHERS = (" ", ", ", ". ", "\n", " (", ") ", ": ", " \u2013 ", " 42 ", " 3.14 ", "'s ")


def write_records(path: Path, megabytes: int) -> None:
    """Writes prompt/completion records, a few hundred characters each.

    Of 30,000 words, the n-th most frequent one is written 1/n as often as the first, as in natural text.
    """
    chance = random.Random(0)
    words = ["".join(chance.choices(_LETTERS, range(26, 0, -1), k=chance.randint(1, 11))) for _ in range(_VOCABULARY)]
    shares = [1 / rank for rank in range(1, _VOCABULARY + 1)]
    pool = chance.choices(words, shares, k=400_000)
    separators = chance.choices(_OTHERS, (60, 8, 8, 3, 1, 1, 1, 1, 1, 1, 1), k=400_000)

    def text(count: int) -> str:
        start = chance.randrange(len(pool) - count)
        pairs = zip(pool[start : start + count], separators[start : start + count], strict=True)
        return "".join(part for pair in pairs for part in pair)

    with path.open("w") as file:
        while file.tell() < megabytes * 1_000_000:
            record = {"prompt": text(chance.randint(10, 120)), "completion": text(chance.randint(1, 20))}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def repeat(path: Path, times: int) -> None:
    """Makes a file so many times as large. Of each record's copies, every one has a prompt of its own."""
    piece = path.read_bytes()
    with path.open("ab") as file:
        for number in range(1, times):
            file.write(piece.replace(b'{"prompt": "', b'{"prompt": "%d ' % number))


def ours(model: Path, data: Path, folder: Path) -> None:
    """Checks and counts all records as preflight does, duplicates, packing and all."""
    _prepare(model, data, folder, with_tokens=False)


def ours_stored(model: Path, data: Path, folder: Path) -> None:
    """Does the same and writes the tokens, as the pods of a training do."""
    _prepare(model, data, folder, with_tokens=True)


def _prepare(model: Path, data: Path, folder: Path, *, with_tokens: bool) -> None:
    from transformers import AutoTokenizer

    from customizer_trainer.datasets.prepare import Data, Preparation, prepare
    from customizer_trainer.datasets.prompts import Columns

    tokenizer = AutoTokenizer.from_pretrained(model)
    how = Preparation(columns=Columns(), max_length=2048, validation_share=0.1, seed=1, with_tokens=with_tokens)
    prepare(Data(training={data.name: data}, validation={}), lambda _: tokenizer, how, folder / "samples")


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


PEER = "datasets + tokenizer"
WAYS = {"preflight": ours, "the same, tokens stored": ours_stored, PEER: datasets_library}


def main() -> None:
    """Runs one way: `python -m tests.bench.preflight WAY MODEL DATA`."""
    way, model, data = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        WAYS[way](Path(model), Path(data), Path(folder))


if __name__ == "__main__":
    main()
