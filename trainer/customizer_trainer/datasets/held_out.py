"""Validation records as they were written: what a served model is asked afterwards."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from customizer_trainer.datasets.blocks import Block, read_blocks
from customizer_trainer.datasets.formats import read_columns
from customizer_trainer.datasets.prepare import VALIDATION, Data, Prepared
from customizer_trainer.datasets.prompts import parse_template
from customizer_trainer.datasets.records import read_records
from customizer_trainer.datasets.store import read_indices, read_places

MOST = 1000
"""Records that are kept; of more, the same distance lies between them."""


def render_held_out(data: Data, prepared: Prepared, template: str | None) -> bytes:
    """Returns the records of validation samples as JSON Lines, bounded in number."""
    columns = read_columns(parse_template(template))
    indices = read_indices(prepared.store.parent / VALIDATION)
    chosen = indices[np.unique(np.linspace(0, len(indices) - 1, min(MOST, len(indices))).astype(int))]
    wanted: defaultdict[int, set[int]] = defaultdict(set)
    for file, number in read_places(prepared.store, chosen.tolist()).values():
        wanted[file].add(number)
    paths = [*data.training.values(), *data.validation.values()]
    lines = [
        json.dumps(record, ensure_ascii=False)
        for file in sorted(wanted)
        for record in _read(paths[file], wanted[file], columns)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _read(path: Path, numbers: set[int], columns: frozenset[str]) -> Iterator[dict[str, Any]]:
    for block in read_blocks(path, columns):
        for part in _pick(block, numbers):
            for record in read_records(part):
                if isinstance(record.content, dict):
                    yield record.content


def _pick(block: Block, numbers: set[int]) -> Iterator[Block]:
    """Returns the wanted records of a block by themselves: of large data, few are decoded."""
    lines = isinstance(block.content, bytes)
    count = block.content.count(b"\n") + 1 if lines else len(block.content)
    chosen = sorted(numbers.intersection(range(block.first, block.first + count)))
    if not chosen:
        return
    content = block.content.split(b"\n") if lines else block.content
    for number in chosen:
        at = number - block.first
        yield Block(block.unit, number, content[at] if lines else content[at : at + 1])
