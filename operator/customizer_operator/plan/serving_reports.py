"""What the sidecars of servers tell: how their adapters are, how the probe was answered, what the server lists."""

from collections.abc import Sequence

from pydantic import ValidationError

from customizer_contract.adapters import SIDECAR_PORT, SidecarReport
from customizer_operator.objects.serving_sidecar import has_sidecar
from customizer_operator.plan.plan import HttpGet, Observed
from customizer_operator.plan.pods import Pod

_POLL_SECONDS = 1.0


def ask_for_reports(pods: Sequence[Pod]) -> list[HttpGet]:
    """Asks every sidecar."""
    return [question for pod in pods if (question := _question(pod)) is not None]


def read_report(observed: Observed, pod: Pod) -> SidecarReport | None:
    """Returns what the sidecar of a pod tells; None without one, or while it does not answer."""
    question = _question(pod)
    answer = observed.answers.get(question) if question else None
    try:
        return SidecarReport.model_validate(answer, extra="ignore") if isinstance(answer, dict) else None
    except ValidationError:
        return None


def _question(pod: Pod) -> HttpGet | None:
    if not pod.ip or not has_sidecar(pod.raw) or pod.is_over:
        return None
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return HttpGet(f"http://{host}:{SIDECAR_PORT}/report", max_age_seconds=_POLL_SECONDS)
