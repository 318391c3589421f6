"""Blocks to samples: what every process does on its own, and how the processes are kept busy."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from customizer_trainer.datasets.blocks import Block
from customizer_trainer.datasets.conversations import Conversation
from customizer_trainer.datasets.encoding import (
    Pairs,
    Sample,
    TemplateUnreadableError,
    TooLong,
    encode_conversation,
    encode_pairs,
    encode_texts,
)
from customizer_trainer.datasets.formats import Example, Parser, Text
from customizer_trainer.datasets.problems import Defect, Problems
from customizer_trainer.datasets.prompts import Pair
from customizer_trainer.datasets.records import read_records
from customizer_trainer.datasets.store import MEASURES
from customizer_trainer.datasets.tokenizing import TextEncoder
from customizer_trainer.datasets.tokens import find_highest

_AHEAD = 2
"""Blocks for each process that wait or are worked on."""


@dataclass(frozen=True, slots=True)
class FileBlock:
    """A block and where it is from."""

    index: int
    """Number of the file."""
    name: str
    block: Block


@dataclass(slots=True)
class Encoded:
    """What became of a block."""

    measures: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, dtype=MEASURES))
    tokens: bytes = b""
    learned: bytes = b""
    problems: Problems = field(default_factory=Problems)
    dropped: int = 0
    last_turn_only: int = 0
    empty: int = 0
    highest_token: int = -1
    """The highest id that was met, also in what was cut off."""


@dataclass(frozen=True, slots=True)
class Work:
    """How blocks become samples."""

    parser: Parser
    encoder: TextEncoder | None
    """None when no record could be told, so that all of them are problems."""
    max_length: int
    with_tokens: bool
    """Whether tokens are kept, rather than only counted."""

    def encode(self, source: FileBlock) -> Encoded:
        """Checks and encodes the records of a block."""
        result = Encoded()
        examples = list(self._examples(source, result))
        if self.encoder is None or not examples:
            return result
        found = self._encode(source, examples, self.encoder, result)
        table = np.empty(len(examples), dtype=MEASURES)
        table["digest"] = np.frombuffer(b"".join([_digest(example) for _, example in examples]), dtype=np.uint64)
        table["file"] = source.index
        table["number"] = [number for number, _ in examples]
        if isinstance(found, Pairs):
            fit, table["length"], table["before"] = found.fit, found.lengths, found.lengths_before
            result.dropped = len(examples) - int(fit.sum())
            result.highest_token = max(found.prompts.highest, found.completions.highest)
        else:
            fit = np.array([isinstance(sample, Sample) and _teaches(sample) for sample in found])
            table["length"] = [len(sample.tokens) // 4 if isinstance(sample, Sample) else 0 for sample in found]
            table["before"] = [0 if sample is None else sample.length_before for sample in found]
            result.dropped = sum(sample is not None for sample in found) - int(fit.sum())
            result.highest_token = find_highest(*(sample.tokens for sample in found if isinstance(sample, Sample)))
        result.measures = table[fit]
        if self.with_tokens:
            samples = found.samples() if isinstance(found, Pairs) else found
            kept = [sample for sample, fits in zip(samples, fit, strict=True) if fits and isinstance(sample, Sample)]
            result.tokens = b"".join([sample.tokens for sample in kept])
            result.learned = _flags(kept)
        return result

    def _examples(self, source: FileBlock, result: Encoded) -> Iterator[tuple[int, Example]]:
        unit, unread = source.block.unit, source.block.unread
        for record in read_records(source.block):
            if record.content is None:
                result.empty += 1
                continue
            content = record.content
            found = [content] if isinstance(content, Defect) else self.parser.parse(content, unread)
            if isinstance(found, list):
                for defect in found:
                    result.problems.add(source.name, unit, record.number, defect)
            else:
                yield record.number, found

    def _encode(
        self, source: FileBlock, examples: Sequence[tuple[int, Example]], encoder: TextEncoder, result: Encoded
    ) -> Pairs | list[Sample | TooLong] | list[Sample | TooLong | None]:
        """Encodes examples, which all are of one kind; None of one that the chat template refuses."""
        pairs = [example for _, example in examples if isinstance(example, Pair)]
        if pairs:
            return encode_pairs(pairs, encoder, self.max_length)
        texts = [example.text for _, example in examples if isinstance(example, Text)]
        if texts:
            return encode_texts(texts, encoder, self.max_length)
        found: list[Sample | TooLong | None] = []
        for number, example in examples:
            if isinstance(example, Conversation):
                try:
                    sample, last_turn_only = encode_conversation(example, encoder, self.max_length)
                except TemplateUnreadableError as error:
                    result.problems.add(
                        source.name, source.block.unit, number, Defect("template", "messages", str(error))
                    )
                    found.append(None)
                    continue
                result.last_turn_only += last_turn_only
                found.append(sample)
        return found


def encode_all(blocks: Iterator[FileBlock], work: Work, processes: int) -> Iterator[Encoded]:
    """Encodes blocks, in their order, on so many processes beside this one; by this one if it is just one."""
    if processes <= 1:
        yield from map(work.encode, blocks)
        return
    # Forked, so that the tokenizer is in memory once.
    with ProcessPoolExecutor(processes, get_context("fork"), initializer=_adopt, initargs=(work,)) as pool:
        waiting: deque[Future[Encoded]] = deque()
        try:
            for source in blocks:
                waiting.append(pool.submit(_encode, source))
                if len(waiting) > _AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


_adopted: list[Work] = []


def _adopt(work: Work) -> None:
    _adopted.append(work)


def _encode(source: FileBlock) -> Encoded:
    return _adopted[-1].encode(source)


def _digest(example: Example) -> bytes:
    """Returns a digest of what is trained of a record, so that exact duplicates are found without keeping them."""
    match example:
        case Pair():
            text = f"{example.prompt}\0{example.completion}"
        case Text():
            text = example.text
        case Conversation():
            text = json.dumps([example.messages, example.tools], sort_keys=True)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()


def _teaches(sample: Sample) -> bool:
    return any(start < end for start, end in sample.learned)


def _flags(samples: Sequence[Sample]) -> bytes:
    """Returns a byte for each token whether it is learned."""
    flags: list[int] = []
    counts: list[int] = []
    for sample in samples:
        at = 0
        for start, end in sample.learned:
            flags += (0, 1)
            counts += (start - at, end - start)
            at = end
        flags.append(0)
        counts.append(len(sample.tokens) // 4 - at)
    return np.repeat(np.array(flags, dtype=np.uint8), np.array(counts, dtype=np.int64)).tobytes()
