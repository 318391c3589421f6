"""The prepared samples as the trainer takes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Features, List, Value

from customizer_trainer.datasets.prepare import STORE
from customizer_trainer.datasets.store import IGNORED, SampleStore, read_indices

_FEATURES = Features({"input_ids": List(Value("int32")), "labels": List(Value("int32"))})


def load_split(folder: Path, name: str, scratch: Path) -> Dataset:
    """Loads a split as tokens and labels; the models shift the labels themselves. Memory-mapped from `scratch`."""
    return Dataset.from_generator(
        _read, features=_FEATURES, cache_dir=str(scratch), gen_kwargs={"folder": str(folder), "name": name}
    )


def _read(folder: str, name: str) -> Iterator[dict[str, list[int]]]:
    store = SampleStore(Path(folder) / STORE)
    for number in map(int, read_indices(Path(folder) / f"{name}.npy")):
        # Nothing comes before the first token, so that it is not learned, and must not count as if it were.
        yield {"input_ids": store.tokens(number), "labels": [IGNORED, *store.labels(number)[1:]]}


class Collator:
    """Makes batches; shorter samples are padded on the right with tokens that are neither seen nor learned."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Returns tensors of shape (samples, length of the longest)."""
        length = max(len(sample["input_ids"]) for sample in samples)

        def fill(rows: Sequence[list[int]], value: int) -> torch.Tensor:
            return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows])

        tokens = [sample["input_ids"] for sample in samples]
        return {
            "input_ids": fill(tokens, self._pad),
            "labels": fill([sample["labels"] for sample in samples], IGNORED),
            "attention_mask": fill([[1] * len(row) for row in tokens], 0),
        }
