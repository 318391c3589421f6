"""Asks a served model the held-out questions and counts the right answers."""

import json
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.demo.tickets import TRAINING_MATTERS


@dataclass(frozen=True, slots=True)
class Answer:
    """A question's outcome."""

    expected: str
    given: str

    @property
    def is_right(self) -> bool:
        """Whether the first team that the answer names, wherever in it, is the expected one."""
        named = re.search("|".join(TRAINING_MATTERS), self.given.lower())
        return named is not None and named.group() == self.expected


def complete(
    url: str, model: str, prompt: str, *, max_tokens: int = 16, timeout: float = 120, key: str | None = None
) -> str:
    """Asks `/v1/completions`, without sampling; shows a key if there is one."""
    body = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return str(json.load(response)["choices"][0]["text"])


def ask_all(url: str, model: str, records: list[dict[str, str]]) -> list[Answer]:
    """Asks every record's prompt, a few at a time."""
    with ThreadPoolExecutor(4) as pool:
        given = pool.map(lambda record: complete(url, model, record["prompt"]), records)
        return [Answer(record["completion"].strip(), text) for record, text in zip(records, given, strict=True)]


def accuracy(answers: list[Answer]) -> float:
    """Gives the share of right answers, from 0 to 1."""
    return sum(answer.is_right for answer in answers) / len(answers)
