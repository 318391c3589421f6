"""What keeps a ModelDeployment back, and what it says of that."""

from typing import Any

import pytest

from customizer_contract.errors import ExitCode, Reason
from customizer_contract.result import Problem, Result
from customizer_operator.objects.images import Images
from customizer_operator.plan.plan import DEPLOYMENT, JOB, POD, SERVICE, Exists
from customizer_operator.plan.serving import plan_deployment
from tests.unit.serving.world import ADAPTER, REFUSAL, World, build_deployment, condition, publish, served


@pytest.mark.parametrize(
    ("spec", "images", "reason"),
    [
        pytest.param({}, Images("io", "automodel", "unsloth"), "ImageNotNamed", id="no image for the runtime"),
        pytest.param(
            {"runtime": {"type": "MultiLLM", "args": ["--x"]}},
            Images("io", "automodel", "unsloth", multi_llm="llm-nim:1.15"),
            "NotTakenByImage",
            id="arguments for an image that takes none",
        ),
        pytest.param(
            {"runtime": {"type": "MultiLLM", "quantization": "fp8"}},
            Images("io", "automodel", "unsloth", multi_llm="llm-nim:1.15"),
            "NotTakenByImage",
            id="quantization for an image that takes it from its profile",
        ),
        pytest.param(
            {"model": {"s3": {"uri": "nowhere"}}}, Images("io", "automodel", "unsloth"), "InvalidSpec", id="a bad spec"
        ),
    ],
)
def test_a_mistake_is_a_condition_with_a_remedy(spec: dict[str, Any], images: Images, reason: str) -> None:
    world = World(build_deployment(**spec), publish(ADAPTER))
    plan = plan_deployment(world.observe(), images)
    assert plan.status is not None
    assert condition(plan.status, "Stalled") == ("True", reason)
    assert not plan.create + plan.apply


def test_an_adapter_is_not_given_to_an_image_that_serves_full_weights_only() -> None:
    runtime = {"type": "ModelSpecificNIM", "generation": "Engine", "image": "nim/x:2"}
    world = World(build_deployment(runtime=runtime), publish(ADAPTER), ADAPTER)
    assert condition(world.settle(), "Stalled") == ("True", "NotTakenByImage")
    assert (DEPLOYMENT, "bot") not in world.objects


@pytest.mark.parametrize(("resource", "name"), [(DEPLOYMENT, "bot"), (SERVICE, "bot"), (JOB, "bot-verify")])
def test_an_object_of_somebody_else_is_never_taken_over(resource: Any, name: str) -> None:
    world = World(build_deployment(), publish(ADAPTER), ADAPTER)
    world.others = {Exists(resource, "team", name): {"metadata": {"name": name}}}
    status = world.settle()
    assert condition(status, "Stalled") == ("True", "NameTaken")
    assert world.objects == {}


BANNER = """This NIM container is governed by the NVIDIA Software License Agreement.
A copy of this license can be found under /opt/nim/LICENSE.
The use of this model is governed by its Community License; you may obtain a copy of the License at the address below.
"""
"""Lines with which a NIM starts."""


def end(
    container: str, code: int, message: str, *, init: bool = False, restarts: int = 3, reason: str = "Error"
) -> Any:
    """Returns a pod's status with a container that ended and is about to be restarted."""
    last = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    entry = {
        "name": container,
        "restartCount": restarts,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": last,
    }
    return {"initContainerStatuses" if init else "containerStatuses": [entry]}


@pytest.mark.parametrize(
    ("pod", "reason", "stalled", "message"),
    [
        pytest.param(
            end("stage", int(ExitCode.BAD_INPUT), Result(command="stage", error=REFUSAL).to_json(), init=True),
            "ArtifactInvalid",
            "True",
            "weights.bin is missing",
            id="weights that differ from the manifest",
        ),
        pytest.param(
            end("server", 1, "Traceback\nValueError: no such quantization\n"),
            "ServerCrashing",
            "True",
            "It said last: ValueError: no such quantization",
            id="a server that crashes again and again",
        ),
        pytest.param(
            end("server", 1, "", restarts=1), "ServerStarting", "False", "exit code 1", id="a server that crashed once"
        ),
        pytest.param(
            end("server", 137, "", reason="OOMKilled"), "OutOfMemory", "True", "raise resources", id="out of memory"
        ),
        pytest.param(
            end(
                "server", 1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\nAborted", restarts=0
            ),
            "OutOfMemory",
            "True",
            "lower runtime.maxModelLen, raise runtime.tensorParallelSize",
            id="a GPU without enough memory",
        ),
        pytest.param(
            end("server", 1, "RuntimeError: No CUDA GPUs are available", restarts=0),
            "DeviceUnavailable",
            "True",
            "check the node's driver and device plugin",
            id="no GPU in the container",
        ),
        pytest.param(
            end("server", 1, "Authentication Error: NGC_API_KEY is not set", restarts=0),
            "LicenceMissing",
            "True",
            "runtime.ngcSecretRef",
            id="a NIM without its key",
        ),
        pytest.param(
            end("server", 1, "License check: the license of this NIM has expired", restarts=0),
            "LicenceMissing",
            "True",
            "runtime.ngcSecretRef",
            id="a NIM whose licence is over",
        ),
        pytest.param(
            end("server", 1, f"{BANNER}\ntorch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB\n", restarts=0),
            "OutOfMemory",
            "True",
            "lower runtime.maxModelLen",
            id="a NIM that says what it is licensed under, and then why it ends",
        ),
        pytest.param(
            end("server", 1, f"{BANNER}\nValueError: no such quantization\n"),
            "ServerCrashing",
            "True",
            "It said last: ValueError: no such quantization",
            id="a NIM whose licence is not why it ends",
        ),
        pytest.param(
            end("server", 1, "NGC_API_KEY is not set, using the local cache\nRuntimeError: No CUDA GPUs are available"),
            "DeviceUnavailable",
            "True",
            "check the node's driver",
            id="what is said last is why it ends",
        ),
        pytest.param(
            end("server", 1, "ERROR Could not match a profile\nProfile 'tp8' is not compatible with 1 GPU", restarts=0),
            "ProfileUnknown",
            "True",
            "correct or remove runtime.profile",
            id="a profile that does not fit",
        ),
        pytest.param(
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                    }
                ]
            },
            "Unschedulable",
            "False",
            "add nodes, or lower replicas, tensorParallelSize or resources",
            id="no room",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    {
                        "name": "server",
                        "image": "vllm:1",
                        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}},
                    }
                ]
            },
            "ImageUnavailable",
            "True",
            "cannot be pulled",
            id="an image that cannot be pulled",
        ),
        pytest.param(
            {
                "initContainerStatuses": [
                    {
                        "name": "stage",
                        "state": {
                            "waiting": {"reason": "CreateContainerConfigError", "message": 'secret "keys" not found'}
                        },
                    }
                ]
            },
            "SecretMissing",
            "True",
            "Secret keys does not exist: create it",
            id="a Secret that is missing",
        ),
    ],
)
def test_what_keeps_a_server_back_is_told(pod: Any, reason: str, stalled: str, message: str) -> None:
    world = World(build_deployment(), publish(ADAPTER), ADAPTER, server_status=pod)
    status = world.settle()
    assert (condition(status, "Ready")[1], condition(status, "Stalled")[0]) == (reason, stalled)
    assert message in status["message"]


def test_what_ails_the_pods_of_an_earlier_revision_goes_away_with_them() -> None:
    world = World(build_deployment(), publish(ADAPTER), ADAPTER, server_status=end("server", 1, ""))
    assert world.settle()["state"] == "Failed"
    newer = world.get(POD, "bot-0")
    labels = {**newer["metadata"]["labels"], "pod-template-hash": "newer"}
    metadata = {**newer["metadata"], "name": "bot-x", "uid": "x", "labels": labels}
    metadata["creationTimestamp"] = world.now.isoformat()
    metadata["ownerReferences"] = [{**metadata["ownerReferences"][0], "name": "bot-newer"}]
    world.objects[POD, "bot-x"] = {**newer, "metadata": metadata, "status": {"phase": "Pending"}}
    assert world.settle()["state"] == "Starting"


def test_a_roll_out_without_room_is_told_and_the_old_servers_go_on() -> None:
    world = served()
    deployment, old = world.get(DEPLOYMENT, "bot"), world.get(POD, "bot-0")
    placed = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: 1 Insufficient nvidia.com/gpu."}
    metadata = {**old["metadata"], "name": "bot-new", "uid": "new", "creationTimestamp": world.now.isoformat()}
    metadata["labels"] = {**metadata["labels"], "pod-template-hash": "2"}
    metadata["ownerReferences"] = [{**metadata["ownerReferences"][0], "name": "bot-2"}]
    world.objects[POD, "bot-new"] = {**old, "metadata": metadata, "status": {"conditions": [placed]}}
    counts = {"replicas": 2, "updatedReplicas": 1, "observedGeneration": 1}
    world.frozen = {**deployment, "status": counts}
    status = world.settle()
    assert (status["state"], status["readyReplicas"]) == ("Updating", 1)
    assert condition(status, "Ready") == ("False", "Unschedulable")
    assert "set updateStrategy to {maxSurge: 0, maxUnavailable: 1}" in status["message"]


def test_a_store_that_does_not_answer_is_told_while_the_job_tries_again() -> None:
    problem = Problem(reason=Reason.STORAGE_UNAVAILABLE, message="s3 does not answer")
    world = World(build_deployment(), publish(ADAPTER), problem)
    world.step()
    job = world.get(JOB, "bot-verify")
    world.verdict = None
    world.objects[JOB, "bot-verify"] = {**job, "status": {}}
    status = world.settle()
    assert (status["state"], condition(status, "Stalled")[0]) == ("Verifying", "False")
    assert status["message"] == "Verifying what is to be served fails. s3 does not answer"
