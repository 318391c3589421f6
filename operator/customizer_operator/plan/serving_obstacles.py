"""What stands against serving at all, whatever the model: names that are taken, an image that is missing or too old."""

from collections.abc import Sequence

from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.api.model_runtime import Runtime
from customizer_operator.api.reasons import ConditionReason
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.objects.images import Images
from customizer_operator.objects.names import is_owned_by
from customizer_operator.objects.serving_canary import canary_name
from customizer_operator.objects.serving_engine import find_contradiction, find_generation
from customizer_operator.objects.verification import verify_name
from customizer_operator.plan.plan import DEPLOYMENT, JOB, NIM_SERVICE, SERVICE, Exists, Observed, Resource
from customizer_operator.plan.serving_companions import find_missing, find_wanted, is_run_by_nvidia
from customizer_operator.plan.serving_trouble import Trouble

_IMAGE_VARIABLES = {"MultiLLM": "CUSTOMIZER_MULTI_LLM_IMAGE", "VLLM": "CUSTOMIZER_VLLM_IMAGE"}


def find_obstacle(observed: Observed, deployment: ModelDeployment, images: Images) -> Trouble | None:
    """Finds what stands against serving at all, whatever the model."""
    metadata, runtime = deployment.metadata, deployment.spec.runtime
    for resource, name in list_names(observed):
        found = observed.answers.get(Exists(resource, metadata.namespace, name))
        if isinstance(found, dict) and not is_owned_by(found, metadata.uid):
            return Trouble(
                ConditionReason.NAME_TAKEN,
                f"There is a {resource.kind} {name} of somebody else: delete it, or choose another name.",
            )
    image = find_image(runtime, images)
    if image is None:
        return Trouble(
            ServingReason.IMAGE_NOT_NAMED,
            f"The operator has no image for runtime {runtime.type}: name one in runtime.image, or set "
            f"{_IMAGE_VARIABLES[runtime.type]} on the operator.",
        )
    missing = find_missing(observed)
    if missing is not None:
        return Trouble(ServingReason.RESOURCE_UNKNOWN, missing)
    contradiction = find_contradiction(runtime, image)
    if contradiction is None and deployment.spec.weights == "Direct" and find_generation(runtime, image) != "V2":
        contradiction = (
            f"{image} is a NIM of generation V1, which reads weights from its disk alone: set weights to Staged, or "
            "runtime.generation to V2 if it is one."
        )
    return None if contradiction is None else Trouble(ServingReason.NOT_TAKEN_BY_IMAGE, contradiction)


def list_names(observed: Observed) -> Sequence[tuple[Resource, str]]:
    """Lists the objects that a ModelDeployment needs a name for."""
    name = observed.subject["metadata"]["name"]
    servers: tuple[Resource, ...] = (DEPLOYMENT, SERVICE)
    if is_run_by_nvidia(observed.subject):
        # NVIDIA's operator makes Deployment and Service of the NIMService: before that, they are somebody else's.
        servers = (NIM_SERVICE,) if observed.named(NIM_SERVICE, name) is not None else (NIM_SERVICE, *servers)
    wanted = (*servers, *find_wanted(observed.subject))
    rollout = observed.subject["spec"].get("rollout") or {}
    canary = [(DEPLOYMENT, canary_name(name))] if rollout.get("strategy") == "Canary" else []
    return (*((resource, name) for resource in wanted), (JOB, verify_name(name)), *canary)


def find_image(runtime: Runtime, images: Images) -> str | None:
    """Returns the image of the server; None if neither the spec nor the operator's settings name one."""
    return runtime.image or (images.vllm if runtime.type == "VLLM" else images.multi_llm)
