"""What ends of attempts cost, and what a whole job took."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from customizer_operator.api.customization_job_status import Attempt, JobProgress, JobReport
from customizer_operator.plan.attempts import measure_holding
from customizer_operator.plan.progress import show_duration

_HOUR = timedelta(hours=1)


def add_losses(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Returns the attempts with what their ends cost, as soon as a later one has told where it began."""
    return [_add_loss(attempt, attempts[index + 1 :]) for index, attempt in enumerate(attempts)]


def _add_loss(attempt: Attempt, later: Sequence[Attempt]) -> Attempt:
    if attempt.lost_seconds is not None or attempt.ended_at is None or not later:
        return attempt
    heir = next((other for other in later if other.step is not None), None)
    again = later[0].running_at or later[0].ended_at
    if heir is None or again is None:
        return attempt
    steps = 0 if attempt.step is None else max(0, attempt.step - (heir.resumed_from_step or 0))
    # What an attempt did not do itself, its predecessor had done and has on its account.
    steps = min(steps, _own_steps(attempt))
    pause = max(again - attempt.ended_at, timedelta())
    seconds = round((pause + steps * _step_time(attempt, attempt.ended_at)).total_seconds())
    return attempt.model_copy(update={"lost_steps": steps, "lost_seconds": seconds})


def _own_steps(attempt: Attempt) -> int:
    return max(0, (attempt.step or 0) - (attempt.resumed_from_step or 0))


def _step_time(attempt: Attempt, ended: datetime) -> timedelta:
    steps = _own_steps(attempt)
    if attempt.running_at is None or steps == 0:
        return timedelta()
    return max(ended - attempt.running_at, timedelta()) / steps


def report(
    attempts: Sequence[Attempt], *, progress: JobProgress | None, gpus: int, processes: int, now: datetime
) -> JobReport:
    """Returns what the job took; `gpus` is 0 on CPUs."""
    queued, idle, running = timedelta(), timedelta(), timedelta()
    for attempt in attempts:
        ended = attempt.ended_at or now
        placed = attempt.placed_at or ended
        ran = attempt.running_at or ended
        queued += max(placed - attempt.started_at, timedelta())
        idle += max(ran - placed, timedelta())
        running += max(ended - ran, timedelta())
    speed = progress.tokens_per_second if progress is not None else None
    told = JobReport(
        gpu_hours=round(gpus * (measure_holding(attempts, now) / _HOUR), 3) if gpus else None,
        tokens_per_second_per_gpu=None if speed is None else round(speed / processes, 1),
        queued_seconds=round(queued.total_seconds()),
        idle_seconds=round(idle.total_seconds()),
        running_seconds=round(running.total_seconds()),
        restarted_seconds=sum(attempt.lost_seconds or 0 for attempt in attempts),
    )
    return told.model_copy(update={"summary": _summarize(told, len(attempts))})


def _summarize(told: JobReport, attempts: int) -> str:
    held = [] if told.gpu_hours is None else [f"{told.gpu_hours:g} GPU-hours"]
    device = "process" if told.gpu_hours is None else "GPU"
    speed = told.tokens_per_second_per_gpu
    quick = [] if speed is None else [f"{speed:g} tokens/s a {device}"]
    parts = [*held, f"{attempts} attempt{'' if attempts == 1 else 's'}", *quick]
    waste = (
        f"{show_duration(told.queued_seconds)} queued, {show_duration(told.idle_seconds)} before the first step,"
        f" {show_duration(told.restarted_seconds)} lost by restarts"
    )
    return f"{', '.join(parts)}; {show_duration(told.running_seconds)} trained; waste: {waste}."
