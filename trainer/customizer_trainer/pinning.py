"""What holds the pods and attempts of a job to the same inputs: each fetches for itself, and sources may change.

The first pod that has fetched writes what it got to `<work>/inputs.json`; all others, of any attempt, compare. Which
checkpoint an attempt of several nodes goes on from is settled the same way, in `<work>/starts/a<attempt>`.
"""

import json

from customizer_contract.base import Model
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import PREFLIGHT_FILE, Job
from customizer_trainer.checkpoints import Checkpoint
from customizer_trainer.storage.store import Store, join

INPUTS_FILE = "inputs.json"
_BEGINNING = "the beginning"
_SHOWN = 12


class Inputs(Model):
    """What a pod has fetched: the sha256 of each."""

    dataset: str
    """As DatasetFacts.digest has it."""
    model: str
    """Of all files of the model that are read: weights, configuration and tokenizer."""
    teacher: str | None = None


def pin_inputs(store: Store, job: Job, found: Inputs) -> None:
    """Holds this pod to the data that preflight has checked, and to what the job's first pod has fetched.

    Raises InputsChanged.
    """
    report = store.read(join(job.work_uri, PREFLIGHT_FILE))
    facts = _read(report).get("dataset")
    checked = {"dataset": facts.get("digest")} if isinstance(facts, dict) else {}
    _compare(job, found, checked, "preflight has checked")
    pin = join(job.work_uri, INPUTS_FILE)
    if not store.put_if_absent(pin, found.to_json().encode()):
        _compare(job, found, _read(store.read(pin)), "this job began with")


def agree_on_start(store: Store, job: Job, attempt: int, node: int, start: Checkpoint | None) -> None:
    """Holds the nodes of an attempt to one checkpoint, where each has looked for the newest one by itself.

    Raises Crashed for the node that came later: the next attempt looks again.
    """
    uri, mine = join(job.work_uri, f"starts/a{attempt}"), _BEGINNING if start is None else start.name
    if store.put_if_absent(uri, mine.encode()):
        return
    first = (store.read(uri) or b"").decode()
    if first == mine:
        return
    if start is not None and start.attempt == attempt:
        # The attempt was started again, by a queue that had put it off, and goes on from what it has saved itself.
        store.put(uri, mine.encode())
        return
    raise CustomizerError(
        Reason.CRASHED, f"Node {node} would go on from {mine}, and another node of this attempt from {first}."
    )


def _read(content: bytes | None) -> dict[str, object]:
    found = {} if content is None else json.loads(content)
    return found if isinstance(found, dict) else {}


def _compare(job: Job, found: Inputs, expected: dict[str, object], whose: str) -> None:
    for name, digest in found:
        other = expected.get(name)
        if isinstance(other, str) and digest != other:
            raise CustomizerError(
                Reason.INPUTS_CHANGED,
                f"The {name} (sha256 {str(digest)[:_SHOWN]}...) is not what {whose} ({other[:_SHOWN]}..., below"
                f" {job.work_uri}).",
                field=name if name != "teacher" else "automodel.training.teacherModel",
            )
