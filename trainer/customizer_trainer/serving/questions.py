"""The samples of a held-out set that a server is asked: a bounded number, the same ones whenever the data are."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.evaluation import EvaluationInput
from customizer_contract.sources import S3Source
from customizer_trainer.datasets.blocks import read_blocks
from customizer_trainer.datasets.conversations import Conversation
from customizer_trainer.datasets.files import EXPECTED, find_validation
from customizer_trainer.datasets.formats import Example, Format, Parser, detect, read_columns
from customizer_trainer.datasets.problems import Defect, Problems
from customizer_trainer.datasets.prompts import Columns, Pair, parse_template
from customizer_trainer.datasets.records import read_records
from customizer_trainer.storage.digest import combined_digest, file_digest
from customizer_trainer.storage.s3 import S3
from customizer_trainer.storage.sources import fetch_data

Question = Pair | Conversation
"""A prompt and its completion, or messages of which the last is the expected answer."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked, and which data it is of."""

    samples: list[Question]
    digest: str


def read_questions(evaluation: EvaluationInput, s3: S3, folder: Path) -> Questions:
    """Downloads the data into `folder` and chooses among all of its samples.

    Raises DatasetNotFound without any, InvalidRecordsError (DatasetInvalid) for a record that cannot be asked.
    """
    files = _fetch(evaluation, s3, folder)
    columns = parse_template(evaluation.prompt_template)
    samples = _choose(_read(files, columns), evaluation.max_samples)
    if not samples:
        raise CustomizerError(Reason.DATASET_NOT_FOUND, f"{evaluation.uri}: no record there has an answer in words.")
    return Questions(samples, combined_digest({name: file_digest(path) for name, path in files.items()}))


def find_question(example: Example) -> Question | None:
    """Returns what to ask; None for an example in which nothing is answered: plain text, or a call of a tool."""
    if isinstance(example, Pair):
        return example
    if not isinstance(example, Conversation):
        return None
    answers = [at for at, message in enumerate(example.messages) if at and message["role"] == "assistant"]
    if not answers or not example.messages[answers[-1]]["content"].strip():
        return None
    return Conversation(example.messages[: answers[-1] + 1], example.tools)


def _fetch(evaluation: EvaluationInput, s3: S3, folder: Path) -> dict[str, Path]:
    def select(paths: Iterable[str]) -> list[str]:
        candidates = list(paths)
        return candidates if len(candidates) == 1 else find_validation(candidates)

    place = fetch_data(S3Source(uri=evaluation.uri), s3, folder, select)
    if place.is_file():
        return {place.name: place}
    found = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
    chosen = select(found)
    if not chosen:
        raise CustomizerError(Reason.DATASET_NOT_FOUND, f"{evaluation.uri}: no data there ({EXPECTED}).")
    return {name: found[name] for name in chosen}


def _read(files: dict[str, Path], columns: Columns) -> Iterator[Question]:
    format_: Format | None = None
    wanted, problems = read_columns(columns), Problems()
    for name, path in files.items():
        for block in read_blocks(path, wanted):
            for record in read_records(block):
                content = record.content
                if content is None:
                    continue
                if isinstance(content, dict) and format_ is None:
                    found = detect(content, columns, block.unread)
                    format_ = None if isinstance(found, Defect) else found
                if isinstance(content, Defect):
                    parsed: Example | list[Defect] = [content]
                else:
                    parsed = Parser(columns, format_).parse(content, block.unread)
                if isinstance(parsed, list):
                    for defect in parsed:
                        problems.add(name, block.unit, record.number, defect)
                elif (question := find_question(parsed)) is not None:
                    yield question
    problems.raise_if_any()


def _choose(questions: Iterable[Question], most: int) -> list[Question]:
    """Takes each of the questions with the same chance, in one pass, and always the same ones."""
    chance = random.Random(0)  # noqa: S311
    chosen: list[Question] = []
    for number, question in enumerate(questions):
        if number < most:
            chosen.append(question)
        elif (place := chance.randint(0, number)) < most:
            chosen[place] = question
    return chosen
