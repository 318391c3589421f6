"""Progress: what rank 0 tells, in the form that people read."""

from datetime import datetime

from pydantic import ValidationError

from customizer_contract.progress import PROGRESS_PORT, Progress
from customizer_contract.result import TrainingFacts
from customizer_operator.api.customization_job_status import JobProgress
from customizer_operator.plan.plan import HttpGet
from customizer_operator.plan.pods import Pod

PULL_SECONDS = 10
"""Progress is asked for, and status written because of it, at most this often."""


def ask_for_progress(pod: Pod) -> HttpGet | None:
    """Returns the question to rank 0, if it runs."""
    if not pod.runs or pod.ip is None:
        return None
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return HttpGet(f"http://{host}:{PROGRESS_PORT}/progress", PULL_SECONDS)


def parse_progress(answer: object) -> Progress | None:
    """Returns what rank 0 told, None when it told nothing."""
    try:
        return Progress.model_validate(answer, extra="ignore") if answer is not None else None
    except ValidationError:
        return None


def show_progress(progress: Progress) -> JobProgress:
    """Returns the progress as status has it."""
    return JobProgress(
        phase=progress.phase,
        step=progress.step,
        total_steps=progress.total_steps,
        percent=_percent(progress.step, progress.total_steps),
        epoch=round(progress.epoch, 3),
        train_loss=_round(progress.train_loss),
        validation_loss=_round(progress.validation_loss),
        learning_rate=None if progress.learning_rate is None else float(f"{progress.learning_rate:.4g}"),
        tokens_per_second=None if progress.tokens_per_second is None else round(progress.tokens_per_second, 1),
        checkpoint_step=progress.checkpoint_step,
        steps=f"{progress.step}/{progress.total_steps}",
        loss=_show_loss(progress.train_loss),
        eta=None if progress.eta_seconds is None else show_duration(progress.eta_seconds),
        updated_at=progress.updated_at.replace(microsecond=0),
    )


def finish_progress(
    last: JobProgress | None, facts: TrainingFacts, *, steps_per_epoch: int | None, now: datetime
) -> JobProgress:
    """Returns the progress of an attempt that has ended: what was seen last, corrected by what it said at its end."""
    if last is None:
        last = _begin_progress(facts, now)
    train_loss = _round(facts.train_loss) if facts.train_loss is not None else last.train_loss
    return last.model_copy(
        update={
            "phase": "Done" if facts.step >= facts.total_steps else last.phase,
            "step": facts.step,
            "total_steps": facts.total_steps,
            "percent": _percent(facts.step, facts.total_steps),
            "epoch": last.epoch if steps_per_epoch is None else round(facts.step / steps_per_epoch, 3),
            "train_loss": train_loss,
            "validation_loss": (
                _round(facts.validation_loss) if facts.validation_loss is not None else last.validation_loss
            ),
            "checkpoint_step": facts.checkpoint_step if facts.checkpoint_step is not None else last.checkpoint_step,
            "steps": f"{facts.step}/{facts.total_steps}",
            "loss": _show_loss(train_loss),
            "eta": None,
        }
    )


def _begin_progress(facts: TrainingFacts, now: datetime) -> JobProgress:
    """Returns the progress of an attempt that ended before it was ever asked."""
    steps = f"0/{facts.total_steps}"
    return JobProgress(
        phase="Starting", step=0, total_steps=facts.total_steps, percent=0, epoch=0, steps=steps, updated_at=now
    )


def show_duration(seconds: float) -> str:
    """Writes a duration as kubectl does: 45s, 12m, 3h20m, 2d4h."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 120:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours else f"{days}d"


def _percent(step: int, total: int) -> int:
    return 0 if total <= 0 else min(100, 100 * step // total)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _show_loss(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
