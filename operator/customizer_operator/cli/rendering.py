"""The objects that the operator would make of an object of ours, by the operator's own builders and plans."""

from datetime import UTC, datetime

from customizer_operator.api.base import Object
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.objects.images import Images
from customizer_operator.objects.job_file import build_config_map, build_job_file
from customizer_operator.objects.preflight import build_preflight
from customizer_operator.objects.scheduling import build_pod_group
from customizer_operator.objects.training import build_training
from customizer_operator.plan.placement import find_mesh
from customizer_operator.plan.plan import Observed
from customizer_operator.plan.serving import plan_deployment
from customizer_operator.plan.serving_source import find_job
from customizer_operator.plan.serving_target import Target, find_target

NOT_YET_GIVEN = "00000000-0000-0000-0000-000000000000"
"""Stands for the uid that the apiserver gives."""
_EPOCH = datetime.fromtimestamp(0, UTC)


def render_job(item: Object, images: Images) -> list[Object]:
    """Renders the objects of a CustomizationJob and of its first attempt."""
    job = CustomizationJob.model_validate(_complete(item))
    training = build_training(job, images, 1)
    objects = [build_config_map(job), build_preflight(job, images), training]
    if job.spec.outline is not None:
        owner = {**training, "metadata": {**training["metadata"], "uid": NOT_YET_GIVEN}}
        group = build_pod_group(owner, job.spec.scheduling, find_mesh(job.spec.outline))
        objects += [] if group is None else [group]
    return objects


def render_job_file(item: Object) -> str:
    """Renders what the trainer is told of a CustomizationJob."""
    return build_job_file(CustomizationJob.model_validate(_complete(item))).to_json()


def render_deployment(item: Object, images: Images) -> tuple[list[Object], str | None]:
    """Renders the objects of a ModelDeployment, and says what is not known yet."""
    item = _complete(item)
    job = find_job(item)
    if job is not None:
        return [], f"its objects follow when CustomizationJob {job} has published"
    plan = plan_deployment(_observe(item), images)
    target = find_target(ModelDeployment.model_validate(item), [])
    if not plan.create or not isinstance(target, Target):
        return list(plan.create), str((plan.status or {}).get("message"))
    if target.serving.artifact is not None:
        return list(plan.create), "its Deployment and Service follow from the artifact's manifest, which verify reads"
    verified = plan_deployment(_observe({**item, "status": {"verifiedDigest": target.digest}}), images)
    return [*plan.create, *verified.apply], None


def _observe(item: Object) -> Observed:
    return Observed(subject=item, children={}, referenced={}, now=_EPOCH)


def _complete(item: Object) -> Object:
    metadata = {"name": item["metadata"]["name"], "namespace": item["metadata"]["namespace"]}
    return {**item, "metadata": {**metadata, "uid": NOT_YET_GIVEN, "generation": 1}}
