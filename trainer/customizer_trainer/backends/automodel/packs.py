"""Packs of samples as a dataset of Automodel: each token knows its place in its sample and which sample that is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nemo_automodel.components.datasets.packed_seq import packed_seq_params_from_doc_ids, to_flash_attention_kwargs
from torch.utils.data import Dataset

from customizer_trainer.backends.automodel.dataset import Samples
from customizer_trainer.datasets.packing import pack
from customizer_trainer.datasets.store import IGNORED


class Packs(Dataset[dict[str, list[int]]]):  # type: ignore[misc]
    """The packs of a split. Their number is rounded up with ones of one token and nothing to learn."""

    def __init__(self, folder: Path, name: str, size: int, multiple_of: int) -> None:
        self._samples = Samples(folder, name, 1)
        self._packs = pack(self._samples.lengths(), size)
        self._length = -(-len(self._packs) // multiple_of) * multiple_of

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> dict[str, list[int]]:
        pack_: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": [], "documents": []}
        numbers = self._packs[position] if position < len(self._packs) else []
        samples = [self._samples[number] for number in numbers] or [{"input_ids": [0], "labels": [IGNORED]}]
        for document, sample in enumerate(samples, start=1):
            length = len(sample["input_ids"])
            pack_["input_ids"] += sample["input_ids"]
            pack_["labels"] += sample["labels"]
            pack_["position_ids"] += range(length)
            pack_["documents"] += [document] * length
        return pack_


@dataclass
class PacksConfig:
    """What the recipe says of the packs; Automodel calls `build`."""

    folder: str
    name: str
    size: int
    multiple_of: int

    def build(self) -> Packs:
        """Packs the samples."""
        return Packs(Path(self.folder), self.name, self.size, self.multiple_of)


def collate(batch: list[dict[str, list[int]]], *, masks: bool) -> dict[str, Any]:
    """Pads packs to one length. What is padded is a sample of its own, number 0: no token sees none.

    With `masks`, tells by a mask which tokens each may see; else by the boundaries that Flash Attention takes.
    """
    length = max(len(pack_["input_ids"]) for pack_ in batch)

    def padded(name: str, filling: int) -> torch.Tensor:
        return torch.tensor([pack_[name] + [filling] * (length - len(pack_[name])) for pack_ in batch])

    documents = padded("documents", 0)
    result: dict[str, Any] = {
        "input_ids": padded("input_ids", 0),
        "labels": padded("labels", IGNORED),
        "position_ids": padded("position_ids", 0),
    }
    if not masks:
        result.update(to_flash_attention_kwargs(packed_seq_params_from_doc_ids(documents)))
        return result
    same = documents[:, None, :, None] == documents[:, None, None, :]
    result["attention_mask"] = same & torch.ones(length, length, dtype=torch.bool).tril()
    return result
