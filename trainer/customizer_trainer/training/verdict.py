"""How an attempt ended on this node, from torchrun's exit code and what the ranks told: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from customizer_contract.errors import MISSED_ANOTHER, CustomizerError, Reason
from customizer_trainer.training.events import Ended, Failed


@dataclass(frozen=True, slots=True)
class End:
    """What is known when torchrun has ended."""

    exit_code: int
    processes: int
    """Ranks on this node."""
    told_to_stop: bool
    """Whether this pod was asked to end."""
    nodes: int
    total_steps: int
    started: bool
    """Whether a rank of this node had begun to train."""
    ended: Sequence[Ended]
    failed: Sequence[Failed]
    killed_for_memory: bool
    disk_is_full: bool
    """Then a rank may have found no room for saying why it ended, or a library may have worded it in its own way."""


def judge(end: End) -> CustomizerError | None:
    """Returns why the training is not done; None when all its steps are.

    Exit codes say little: ranks that were told to stop end well, and torchrun ends badly when it is told itself, or
    when another node has gone before it.
    """
    if len(end.ended) == end.processes:
        step = min(ended.step for ended in end.ended)
        if step >= end.total_steps:
            return None
        return CustomizerError(Reason.PREEMPTED, f"Told to stop; saved after step {step} of {end.total_steps}.")
    failed = sorted(end.failed, key=lambda each: each.at)
    causes = [each for each in failed if each.reason not in MISSED_ANOTHER]
    if causes and not (end.disk_is_full and causes[0].reason is Reason.CRASHED):
        return _pass_on(causes[0])
    if end.disk_is_full:
        return CustomizerError(Reason.DISK_FULL, "There is no room left on the disk of this pod's workspace.")
    if end.told_to_stop:
        return CustomizerError(Reason.PREEMPTED, "Told to stop before the running step could be saved.")
    if end.killed_for_memory:
        return CustomizerError(Reason.OUT_OF_MEMORY, "The kernel killed a process of this pod for its memory.")
    if failed:
        return _pass_on(failed[0])
    if end.nodes > 1 and not end.started:
        return CustomizerError(Reason.RENDEZVOUS_TIMEOUT, "The nodes of this attempt did not find one another.")
    return CustomizerError(Reason.CRASHED, f"torchrun ended with exit code {end.exit_code}, and no rank said why.")


def _pass_on(failed: Failed) -> CustomizerError:
    return CustomizerError(failed.reason, f"Rank {failed.rank}: {failed.message}", rank=failed.rank)
