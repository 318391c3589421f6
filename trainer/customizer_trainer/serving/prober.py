"""Asks a server the question of its deployment, and compares the answer: once it has started, and after each change."""

import json
import re
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from customizer_contract.adapters import ProbeInput, ProbeReport
from customizer_trainer.serving.engines import ask

_PAUSE = 5.0
"""Seconds until a question is repeated that was not answered as expected."""
_QUOTED = 200
"""Characters of an answer that are told."""


@dataclass(slots=True)
class Prober:
    """The question of one server. Once it has passed, a later failure is told, and the server stays ready."""

    port: int
    clock: Callable[[], float]
    has_passed: bool = False
    """Whether the server has answered as expected since it was started, or nothing is asked."""
    _occasion: Hashable = None
    _starts: int = 0
    _report: ProbeReport | None = None
    _task: Future[ProbeReport] | None = None
    _due: float = 0.0
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "probe"))

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing has to be asked."""
        return self._task is None and self.has_passed and (self._report is None or self._report.passed)

    def step(self, probe: ProbeInput | None, state: tuple[int, Hashable], *, may_ask: bool) -> ProbeReport | None:
        """Asks if there is a reason to, without waiting for the answer; returns how the newest question went.

        `state` is how often the server has started, and what else its answers depend on.
        """
        if self._occasion != (probe, state):
            self._occasion, self._report, self._task, self._due = (probe, state), None, None, 0.0
            self.has_passed = probe is None or (self.has_passed and self._starts == state[0])
            self._starts = state[0]
        if probe is None:
            return None
        if self._task is not None and self._task.done():
            self._report, self._task = self._task.result(), None
            self._due = self.clock() + _PAUSE
            self.has_passed = self.has_passed or self._report.passed
        needs_answer = self._report is None or not self._report.passed
        if may_ask and self._task is None and needs_answer and self.clock() >= self._due:
            self._task = self._pool.submit(put_question, self.port, probe)
        return self._report


def put_question(port: int, probe: ProbeInput) -> ProbeReport:
    """Asks once, and judges the answer."""
    body: dict[str, Any] = {"model": probe.model, "max_tokens": probe.max_tokens, "temperature": 0}
    if probe.messages is not None:
        body["messages"] = [message.model_dump() for message in probe.messages]
        path = "/v1/chat/completions"
    else:
        body["prompt"] = probe.prompt
        path = "/v1/completions"
    try:
        status, answer = ask(port, path, body, probe.timeout_seconds)
        if status != HTTPStatus.OK:
            said = answer[:_QUOTED].decode(errors="replace")
            return ProbeReport(passed=False, message=f"The server answers {status}: {said}")
        choice = json.loads(answer)["choices"][0]
        text = str(choice["message"]["content"] if probe.messages is not None else choice["text"])
    except (OSError, HTTPException, ValueError, KeyError, IndexError, TypeError) as error:
        return ProbeReport(passed=False, message=f"No answer within {probe.timeout_seconds} s: {error}.")
    return judge(probe, text)


def judge(probe: ProbeInput, text: str) -> ProbeReport:
    """Compares an answer with what is expected of it."""
    message = None
    if probe.expected_text is not None and probe.expected_text not in text:
        message = f"The answer does not hold {probe.expected_text!r}."
    elif probe.expected_pattern is not None:
        message = _compare(probe.expected_pattern, text)
    return ProbeReport(passed=message is None, answer=text[:_QUOTED], message=message)


def _compare(pattern: str, text: str) -> str | None:
    try:
        found = re.search(pattern, text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"spec.probe.expectedPattern is no regular expression of Python: {error}."
    return None if found else f"The answer does not match {pattern!r}."
