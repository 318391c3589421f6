"""The prepared samples as a dataset of Automodel."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from customizer_trainer.datasets.store import IGNORED, SampleStore, read_indices

STORE = "store"


class Samples(Dataset[dict[str, Any]]):  # type: ignore[misc]
    """Samples of one split; labels are shifted, as Automodel's losses expect them: label i follows token i.

    The number of samples is rounded up with empty ones, of one token and nothing to learn: they add nothing to a
    loss, which is a mean over learned tokens, while the library would drop samples that do not fill all ranks.
    """

    def __init__(self, folder: Path, name: str, multiple_of: int) -> None:
        self._store = SampleStore(folder / STORE)
        self._indices = read_indices(folder / f"{name}.npy")
        self._length = -(-len(self._indices) // multiple_of) * multiple_of

    def lengths(self) -> npt.NDArray[np.int64]:
        """Returns the tokens of each sample."""
        return self._store.lengths[self._indices]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> dict[str, Any]:
        if position >= len(self._indices):
            return {"input_ids": [0], "labels": [IGNORED], "attention_mask": [1]}
        number = int(self._indices[position])
        tokens, labels = self._store.tokens(number), self._store.labels(number)
        return {"input_ids": tokens[:-1], "labels": labels[1:], "attention_mask": [1] * (len(tokens) - 1)}


@dataclass
class SamplesConfig:
    """What the recipe says of a split; Automodel calls `build`."""

    folder: str
    name: str
    multiple_of: int

    def build(self) -> Samples:
        """Opens the samples."""
        return Samples(Path(self.folder), self.name, self.multiple_of)
