"""Attempts of which only a part finds nodes: without a gang scheduler two of them would block each other for ever.

Kueue's quota does not help: there may be enough GPUs for both, and none that a pod can have on one node.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from customizer_operator.api.customization_job_status import Attempt
from customizer_operator.api.reasons import AttemptOutcome
from customizer_operator.plan.attempts import Ending
from customizer_operator.plan.pods import Pod

HALF_PLACED = "HalfPlaced"
"""Some pods had nodes and others found none."""
_PATIENCE = timedelta(minutes=5)
_SPREAD_SECONDS = 180
"""Jobs that block each other give up at different times: the one that holds on then has room."""


def find_release(
    attempt: Attempt, pods: Sequence[Pod], replicas: int, uid: str, now: datetime, *, queued: bool
) -> Ending | None:
    """Returns that an attempt gives up its nodes, when it has held some of them idle for too long.

    One that a queue has let in waits twice as long: nodes may still be made for it, and the next one queues anew.
    """
    placed = [pod for pod in pods if pod.node is not None and not pod.is_over]
    if not placed or len(placed) == replicas or attempt.running_at is not None:
        return None
    held = now - max(pod.placed_at or pod.created_at for pod in placed)
    if held < _find_patience(uid) * (2 if queued else 1):
        return None
    text = (
        f"{len(placed)} of {replicas} pods held a node for {int(held.total_seconds() // 60)} minutes while the others"
        " found none. They gave theirs back, so that a job that needs fewer can run. A queue with labels"
        " (spec.scheduling.queue and topology), Volcano and KAI place all pods or none."
    )
    return Ending(AttemptOutcome.RELEASED, HALF_PLACED, text, retryable=True)


def _find_patience(uid: str) -> timedelta:
    digest = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4])
    return _PATIENCE + timedelta(seconds=digest % _SPREAD_SECONDS)
