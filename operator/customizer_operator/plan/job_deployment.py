"""The ModelDeployment that a CustomizationJob asks for: created once, when there is something to serve."""

from collections.abc import Sequence
from dataclasses import dataclass

from customizer_operator.api.base import API_VERSION, JOB_LABEL, Object
from customizer_operator.plan.job_view import JobView
from customizer_operator.plan.lifecycle import Stage, is_over
from customizer_operator.plan.plan import MODEL_DEPLOYMENT, Exists

_AGAIN_SECONDS = 30.0
_NOT_CREATED = "The ModelDeployment is not created"


@dataclass(frozen=True, slots=True)
class Deployed:
    """What becomes of the template."""

    name: str | None
    """Name of the ModelDeployment, once there is one."""
    create: tuple[Object, ...] = ()
    warning: str | None = None
    """Why there is none yet, though there should be."""
    again_after: float | None = None


def ask_about_deployment(view: JobView) -> Sequence[Exists]:
    """Asks whether the name of the ModelDeployment is free, when it is due."""
    return (_question(view),) if _is_due(view) else ()


def deploy(view: JobView) -> Deployed:
    """Says what is created. It has no owner: it outlives the job, as the artifact does."""
    if not _is_due(view):
        return Deployed(view.status.deployment)
    metadata = view.job.metadata
    labels = {JOB_LABEL: metadata.name}
    present = view.observed.answers.get(_question(view))
    refusal = view.observed.refusal
    if isinstance(present, dict) and (present["metadata"].get("labels") or {}).get(JOB_LABEL) != metadata.name:
        refusal = f"there is a ModelDeployment {metadata.name} that is not of this job: delete it"
    if refusal is not None:
        message = f"{_NOT_CREATED}: {refusal.rstrip('.')}, or correct spec.deployment."
        return Deployed(None, warning=message, again_after=_AGAIN_SECONDS)
    item: Object = {
        "apiVersion": API_VERSION,
        "kind": MODEL_DEPLOYMENT.kind,
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "labels": labels},
        "spec": {
            **view.observed.subject["spec"]["deployment"],
            "model": {"customizationJobRef": {"name": metadata.name}},
        },
    }
    return Deployed(metadata.name, create=() if isinstance(present, dict) else (item,))


def tell(deployed: Deployed, status: Object) -> Object:
    """Returns the status, as JSON, with what became of the template."""
    warnings = [text for text in status.get("warnings", ()) if not text.startswith(_NOT_CREATED)]
    if deployed.warning is not None:
        warnings.append(deployed.warning)
    told = {**status, "deployment": deployed.name, "warnings": warnings}
    return {key: value for key, value in told.items() if value or key not in ("deployment", "warnings")}


def _is_due(view: JobView) -> bool:
    return (
        view.job.spec.deployment is not None
        and view.status.deployment is None
        and view.status.artifact is not None
        and is_over(view.status) is Stage.COMPLETE
    )


def _question(view: JobView) -> Exists:
    metadata = view.job.metadata
    return Exists(MODEL_DEPLOYMENT, metadata.namespace, metadata.name)
