"""ModelDeployments that NVIDIA's operator runs: what it cannot do, and what it tells."""

from dataclasses import replace

from customizer_operator.api.base import Object
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.api.remedies import JOB_REMEDIES
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.objects.serving_engine import find_generation
from customizer_operator.plan.plan import NIM_SERVICE, Observed
from customizer_operator.plan.pods import parse_time
from customizer_operator.plan.serving_companions import is_run_by_nvidia
from customizer_operator.plan.serving_target import Target
from customizer_operator.plan.serving_trouble import Trouble
from customizer_operator.plan.waiting import REACT_WITHIN


def find_limit(deployment: ModelDeployment, target: Target, image: str) -> Trouble | None:
    """Finds what a job or an image asks of the pods of a NIMService that they cannot do; the schema knows the rest."""
    if deployment.spec.backend != "NIMService":
        return None
    what = None
    if target.access.claims:
        what = "the base model lies on a volume, which they cannot mount: name one in S3 or on the hub"
    elif target.access.storage.service_account_name is not None:
        what = "the store is reached by a ServiceAccount, and they have one of their own: use credentialsSecretRef"
    elif find_generation(deployment.spec.runtime, image) == "Engine":
        what = f"{image} is a NIM of generation Engine, which looks for its model elsewhere"
    if what is None:
        return None
    message = f"The pods of a NIMService cannot serve this: {what}, or choose backend: Deployment."
    return Trouble(ServingReason.NOT_TAKEN_BY_BACKEND, message)


def find_failure(observed: Observed) -> Trouble | None:
    """Tells what NVIDIA's operator cannot do with the NIMService, or that it takes no notice of it."""
    name = observed.subject["metadata"]["name"]
    service = observed.named(NIM_SERVICE, name)
    if service is None:
        return None
    conditions: list[Object] = (service.get("status") or {}).get("conditions") or []
    for condition in conditions:
        if condition["type"] == "Failed" and condition["status"] == "True":
            said = condition.get("message") or condition.get("reason", "")
            return Trouble(ServingReason.NIM_SERVICE_FAILED, f"NVIDIA's operator says of the NIMService: {said}")
    # The first that it does is to set its finalizer. Then it may ask a registry about the image for long.
    created = parse_time(service["metadata"].get("creationTimestamp"))
    if service["metadata"].get("finalizers") or created is None or observed.now - created <= REACT_WITHIN:
        return None
    return Trouble(
        ServingReason.NIM_OPERATOR_MISSING,
        f"Nobody takes notice of NIMService {name}: check that NVIDIA's NIM operator runs and may see this namespace.",
    )


def reword(observed: Observed, trouble: Trouble | None) -> Trouble | None:
    """Tells of pods that NVIDIA's operator makes what only of ours would be something else."""
    if trouble is None or trouble.reason != ConditionReason.POD_SECURITY_REFUSED:
        return trouble
    if not is_run_by_nvidia(observed.subject):
        return trouble
    said = trouble.message.removesuffix(JOB_REMEDIES[ConditionReason.POD_SECURITY_REFUSED])
    remedy = "NVIDIA's operator makes no restricted pods: choose another namespace, or backend: Deployment."
    return replace(trouble, message=said + remedy)
