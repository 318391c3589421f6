"""The health that Argo CD sees: the script that is installed, run by Lua on statuses that the plans wrote."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from lupa.lua51 import LuaRuntime

from customizer_contract.errors import ExitCode, Reason
from customizer_operator.api.base import GROUP, Object
from customizer_operator.api.kinds import KINDS
from customizer_operator.plan.plan import JOB
from tests.support import samples
from tests.unit.operator import simulator
from tests.unit.operator.stages import running
from tests.unit.serving import world as serving

MANIFESTS = Path(__file__).parents[3] / "manifests"
SCRIPT = MANIFESTS / "argocd" / "health.lua"


def find_health(item: Object) -> tuple[str, str]:
    """Runs the script as Argo CD does: the object is the global `obj`, the answer is what the chunk returns."""
    lua = LuaRuntime(register_eval=False)
    lua.globals()["obj"] = lua.table_from(item, recursive=True)
    health = lua.execute(SCRIPT.read_text())
    return health["status"], health["message"]


def new_job() -> Object:
    return simulator.World(samples.job()).subject


def job_in_preflight() -> Object:
    world = simulator.World(samples.job())
    world.settle()
    return world.subject


def job_that_trains() -> Object:
    return running()[0].subject


def job_without_its_secret() -> Object:
    world = simulator.World(samples.job())
    world.settle()
    world.block_pod(world.make_preflight_pod(), "CreateContainerConfigError", 'secret "s3" not found')
    world.run(60)
    return world.subject


def job_that_no_node_fits() -> Object:
    world = simulator.World(samples.job())
    world.settle()
    name = world.make_preflight_pod()
    pod = world.objects[simulator.POD, name]
    words = "0/2 nodes are available: 2 Insufficient cpu."
    unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    world.put(simulator.POD, {**pod, "status": {"phase": "Pending", "conditions": [unplaced]}})
    world.run(60)
    return world.subject


def suspended_job() -> Object:
    world = simulator.World(samples.job(suspend=True))
    world.settle()
    return world.subject


def planned_job() -> Object:
    world = simulator.World(samples.job(planOnly=True))
    world.settle()
    world.pass_preflight(samples.passed())
    world.settle()
    return world.subject


def failed_job() -> Object:
    world = simulator.World(samples.job())
    world.settle()
    bad = samples.failed(Reason.DATASET_INVALID, "prompt is missing.", file="train.jsonl", line=17)
    world.end_pod(world.make_preflight_pod(), ExitCode.BAD_INPUT, bad)
    world.set_conditions((JOB, f"{world.name}-preflight"), "Failed")
    world.settle()
    return world.subject


def misunderstood_job() -> Object:
    world = simulator.World(samples.job(automodel={"newField": 1}))
    world.settle()
    return world.subject


def complete_world() -> simulator.World:
    world, (first, second) = running()
    world.end_pod(second, 0)
    world.end_pod(first, 0, samples.trained())
    world.settle()
    return world


def complete_job() -> Object:
    return complete_world().subject


def complete_job_whose_spec_changed() -> Object:
    world = complete_world()
    world.set_spec(suspend=True)
    return world.subject


def complete_job_whose_change_was_observed() -> Object:
    world = complete_world()
    world.set_spec(suspend=True)
    world.settle()
    return world.subject


def failed_job_that_is_deleted() -> Object:
    item = failed_job()
    return {**item, "metadata": {**item["metadata"], "deletionTimestamp": "2026-11-23T21:00:00Z"}}


@pytest.mark.parametrize(
    ("build", "status", "words"),
    [
        pytest.param(new_job, "Progressing", "has not looked at it yet", id="a job that nobody has looked at"),
        pytest.param(job_in_preflight, "Progressing", "Preflight reads data and model.", id="a job in preflight"),
        pytest.param(job_without_its_secret, "Degraded", "Secret s3 does not exist", id="a job without its Secret"),
        pytest.param(job_that_no_node_fits, "Progressing", "Insufficient cpu", id="a job that waits for a node"),
        pytest.param(job_that_trains, "Progressing", "All pods run.", id="a job that trains"),
        pytest.param(suspended_job, "Suspended", "spec.suspend is true", id="a suspended job"),
        pytest.param(planned_job, "Suspended", "spec.planOnly is true", id="a job that is only planned"),
        pytest.param(failed_job, "Degraded", "DatasetInvalid: train.jsonl:17", id="a failed job"),
        pytest.param(misunderstood_job, "Degraded", "does not understand the spec", id="a job of a newer release"),
        pytest.param(complete_job, "Healthy", "Published adapter at s3://bucket/out.", id="a complete job"),
        pytest.param(
            complete_job_whose_spec_changed, "Progressing", "the newest spec", id="a change that nobody has looked at"
        ),
        pytest.param(
            complete_job_whose_change_was_observed, "Healthy", "Published adapter", id="a change of a complete job"
        ),
        pytest.param(failed_job_that_is_deleted, "Progressing", "being deleted", id="a job that is being deleted"),
    ],
)
def test_the_health_of_a_job(build: Callable[[], Object], status: str, words: str) -> None:
    health, message = find_health(build())
    assert health == status
    assert words in message


def waiting_deployment() -> Object:
    world = serving.World(serving.build_deployment(), serving.build_job(state="Training"))
    world.settle()
    return world.subject


def lonely_deployment() -> Object:
    world = serving.World(serving.build_deployment())
    world.settle()
    return world.subject


def verifying_deployment() -> Object:
    world = serving.World(serving.build_deployment(), serving.publish(serving.ADAPTER))
    world.settle()
    return world.subject


def starting_deployment() -> Object:
    world = serving.World(serving.build_deployment(), serving.publish(serving.ADAPTER), serving.ADAPTER)
    world.settle()
    return world.subject


def refused_deployment() -> Object:
    world = serving.World(serving.build_deployment(**serving.ARTIFACT), verdict=serving.REFUSAL)
    world.settle()
    return world.subject


def ready_deployment() -> Object:
    return serving.served().subject


def ready_deployment_whose_spec_changed() -> Object:
    world = serving.served()
    world.change(replicas=2)
    return world.subject


def stopped_deployment() -> Object:
    world = serving.served()
    world.change(replicas=0)
    world.settle()
    return world.subject


@pytest.mark.parametrize(
    ("build", "status", "words"),
    [
        pytest.param(serving.build_deployment, "Progressing", "has not looked at it yet", id="nobody has looked at it"),
        pytest.param(
            waiting_deployment, "Progressing", "Waits for CustomizationJob tickets", id="it waits for its job"
        ),
        pytest.param(lonely_deployment, "Degraded", "There is no CustomizationJob tickets", id="its job is missing"),
        pytest.param(verifying_deployment, "Progressing", "Verifies", id="what it serves is verified"),
        pytest.param(starting_deployment, "Progressing", "Servers stage the weights", id="its servers start"),
        pytest.param(refused_deployment, "Degraded", "weights.bin is missing", id="its artifact is refused"),
        pytest.param(ready_deployment, "Healthy", "1 replica answers to every name.", id="it is ready"),
        pytest.param(
            ready_deployment_whose_spec_changed, "Progressing", "the newest spec", id="nobody has looked at a change"
        ),
        pytest.param(stopped_deployment, "Suspended", "spec.replicas is 0", id="it is stopped"),
    ],
)
def test_the_health_of_a_deployment(build: Callable[[], Object], status: str, words: str) -> None:
    health, message = find_health(build())
    assert health == status
    assert words in message


def test_argo_cd_is_given_the_script_for_every_kind() -> None:
    kustomization = yaml.safe_load((SCRIPT.parent / "kustomization.yaml").read_text())
    (generated,) = kustomization["configMapGenerator"]
    assert generated["name"] == "argocd-cm"
    keys = [f"resource.customizations.health.{GROUP}_{kind.names.kind}={SCRIPT.name}" for kind in KINDS]
    assert generated["files"] == keys


def test_in_the_example_the_deployment_comes_after_its_job() -> None:
    job, deployment = yaml.safe_load_all((MANIFESTS / "examples" / "argocd-sync-waves.yaml").read_text())
    waves = [int(item["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]) for item in (job, deployment)]
    assert (job["kind"], deployment["kind"]) == ("CustomizationJob", "ModelDeployment")
    assert waves == [0, 1]
    assert deployment["spec"]["model"]["customizationJobRef"]["name"] == job["metadata"]["name"]
