"""Asks a server the questions of a held-out set once it answers, and sums up how good it is."""

import logging
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.evaluation import EvaluationInput, EvaluationReport
from customizer_trainer.outcome import problem_of
from customizer_trainer.serving.questions import Questions, read_questions
from customizer_trainer.serving.scoring import Mark, compute_score, mark
from customizer_trainer.storage.s3 import S3

log = logging.getLogger(__name__)

_AT_ONCE = 4
"""Questions under way: enough to keep an engine busy, few beside its requests."""
_PAUSE = 30.0
"""Seconds until an evaluation that came to no score is tried again."""

Evaluate = Callable[[EvaluationInput, threading.Event], EvaluationReport]
"""Asks everything; stops early once the event is set."""


@dataclass(slots=True)
class Evaluator:
    """The evaluation of one server: each occasion once, beside all else that the sidecar does."""

    evaluate: Evaluate
    clock: Callable[[], float]
    _asked: EvaluationInput | None = None
    _report: EvaluationReport | None = None
    _task: Future[EvaluationReport] | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _due: float = 0.0
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "evaluation"))

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing has to be asked."""
        return self._task is None and (self._asked is None or self._has_score)

    @property
    def _has_score(self) -> bool:
        return self._report is not None and self._report.score is not None

    def step(self, wanted: EvaluationInput | None, *, may_ask: bool) -> EvaluationReport | None:
        """Begins if there is a reason to, without waiting for the end; returns what is known of what is wanted."""
        if wanted != self._asked:
            self.close()
            self._asked, self._report, self._task, self._due = wanted, None, None, 0.0
            self._stop = threading.Event()
        if wanted is None:
            return None
        if self._task is not None and self._task.done():
            self._report, self._task = self._task.result(), None
            self._due = self.clock() + _PAUSE
            log.info("evaluation: %s", self._report.to_json())
        if may_ask and self._task is None and not self._has_score and self.clock() >= self._due:
            self._task = self._pool.submit(self.evaluate, wanted, self._stop)
        return self._report

    def close(self) -> None:
        """Lets what is under way go."""
        self._stop.set()


def evaluate(
    port: int, s3: S3, find_folder: Callable[[str], Path], wanted: EvaluationInput, stop: threading.Event
) -> EvaluationReport:
    """Asks every question once; whatever stands against a score is in the report.

    `find_folder` returns the folder with the tokenizer of what is served under a name.
    """
    report = EvaluationReport(question=wanted.digest)
    try:
        with tempfile.TemporaryDirectory() as folder:
            questions = read_questions(wanted, s3, Path(folder))
        if wanted.metric == "Loss":
            # Needs numpy, which no other sidecar has to hold.
            from customizer_trainer.serving.likelihood import encode, measure

            encoded = encode(questions.samples, find_folder(wanted.model))
            marks = _ask_all([partial(measure, port, wanted, sample) for sample in encoded], stop)
        else:
            marks = _ask_all([partial(mark, port, wanted, question) for question in questions.samples], stop)
        return _sum_up(report, wanted, questions, marks)
    except CustomizerError as error:
        problem = problem_of(error)
    except OSError as error:
        problem = problem_of(CustomizerError(Reason.DISK_FULL, f"The data cannot be stored: {error}."))
    return report.model_copy(update={"reason": problem.reason, "message": problem.message})


def _ask_all(questions: Sequence[Callable[[], Mark]], stop: threading.Event) -> list[Mark]:
    def ask_one(question: Callable[[], Mark]) -> Mark:
        if stop.is_set():
            raise CustomizerError(Reason.EVALUATION_FAILED, "It was called off.")
        return question()

    with ThreadPoolExecutor(_AT_ONCE, "question") as pool:
        tasks = [pool.submit(ask_one, question) for question in questions]
        try:
            return [task.result() for task in tasks]
        except CustomizerError:
            # A server that does not answer one question is not asked the others.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _sum_up(
    report: EvaluationReport, wanted: EvaluationInput, questions: Questions, marks: list[Mark]
) -> EvaluationReport:
    score, loss = compute_score(wanted.metric, marks)
    refusals = [found.refusal for found in marks if found.refusal is not None]
    message = f"The server did not take {len(refusals)} of {len(marks)} samples: {refusals[0]}" if refusals else None
    return report.model_copy(
        update={
            "score": score,
            "loss": loss,
            "samples": len(marks),
            "refused": len(refusals),
            "dataset_digest": questions.digest,
            "message": message,
        }
    )
