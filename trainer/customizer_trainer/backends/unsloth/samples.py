"""The prepared samples as the trainer takes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Features, List, Value

from customizer_trainer.datasets.packing import pack
from customizer_trainer.datasets.prepare import STORE
from customizer_trainer.datasets.store import IGNORED, SampleStore, read_indices

_ROW = List(Value("int32"))
_FEATURES = Features({"input_ids": _ROW, "labels": _ROW, "position_ids": _ROW})


def load_split(folder: Path, name: str, scratch: Path, pack_size: int | None = None) -> Dataset:
    """Loads a split as rows of tokens, labels and positions: a sample each, or as many as fit into `pack_size` tokens.

    Memory-mapped from `scratch`. The models shift the labels themselves.
    """
    arguments = {"folder": str(folder), "name": name, "pack_size": pack_size}
    return Dataset.from_generator(_read, features=_FEATURES, cache_dir=str(scratch), gen_kwargs=arguments)


def _read(folder: str, name: str, pack_size: int | None) -> Iterator[dict[str, list[int]]]:
    store, numbers = SampleStore(Path(folder) / STORE), read_indices(Path(folder) / f"{name}.npy")
    packs = [[row] for row in range(len(numbers))] if pack_size is None else pack(store.lengths[numbers], pack_size)
    for rows in packs:
        samples = [int(numbers[row]) for row in rows]
        tokens = [store.tokens(sample) for sample in samples]
        yield {
            "input_ids": [token for sample in tokens for token in sample],
            # Nothing comes before a sample's first token, so that it is not learned, and must not count as if it were.
            "labels": [label for sample in samples for label in (IGNORED, *store.labels(sample)[1:])],
            "position_ids": [position for sample in tokens for position in range(len(sample))],
        }


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


class RowCollator:
    """Makes batches of packs: one row of all of them without padding, in which positions begin anew with each sample.

    By these alone the models keep samples apart, in a batch of one row without a mask.
    """

    def __call__(self, packs: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Returns tensors of shape (1, tokens of all packs)."""
        return {name: torch.tensor([[value for pack in packs for value in pack[name]]]) for name in _FEATURES}
