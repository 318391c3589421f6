"""What is asked of the apiserver to list and to watch: of a cluster's pods and Jobs, few are ours."""

from customizer_operator.api.base import DEPLOYMENT_LABEL, JOB_LABEL
from customizer_operator.objects.names import COMPONENT_LABEL, MANAGER, MANAGER_LABEL, PREFLIGHT, TRAINING
from customizer_operator.objects.serving_pods import CANARY, SERVER, VERIFY
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, JOB, MODEL_DEPLOYMENT, POD, PYTORCH_JOB, Resource

_OWN = (CUSTOMIZATION_JOB, MODEL_DEPLOYMENT)
# A selector can ask for one of two values, not for one of two labels. The pods of a NIMService have no manager of ours.
_SELECTORS = {
    JOB: f"{MANAGER_LABEL}={MANAGER}",
    POD: f"{COMPONENT_LABEL} in ({','.join(sorted((CANARY, PREFLIGHT, SERVER, TRAINING, VERIFY)))})",
    PYTORCH_JOB: JOB_LABEL,
}


def find_selector(resource: Resource) -> str | None:
    """Returns the label selector that lets through all objects of ours, and few others; None where all are ours."""
    if resource in _OWN:
        return None
    return _SELECTORS.get(resource, DEPLOYMENT_LABEL)
