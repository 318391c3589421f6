"""Servers that NVIDIA's operator runs: the NIMService in full, and its life."""

from datetime import timedelta
from typing import Any

import pytest

from customizer_contract.serving import Serving
from customizer_operator.api.base import Object
from customizer_operator.objects.nim_service import split_image
from customizer_operator.objects.serving_pods import FILE_ANNOTATION
from customizer_operator.plan.plan import DEPLOYMENT, NIM_SERVICE, POD, SERVICE, Exists, Served
from tests.unit.serving.world import ADAPTER, ARTIFACT, MODEL, World, build_deployment, build_job, condition, publish

CACHES = {
    "HF_HOME": "/scratch/huggingface",
    "HF_HUB_OFFLINE": "1",
    "HOME": "/tmp",
    "NIM_CACHE_PATH": "/scratch/nim",
    "TMPDIR": "/tmp",
    "USER": "server",
    "VLLM_CACHE_ROOT": "/scratch/vllm",
}
NGC: Object = {"ngcSecretRef": {"name": "ngc"}}
MULTI: Object = {"type": "MultiLLM", **NGC}
MADE_FOR_ONE: Object = {"type": "ModelSpecificNIM", "image": "nim/llama:1.8.6", **NGC}
LICENCE: Object = {"name": "NGC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "ngc", "key": "NGC_API_KEY"}}}


def build_world(runtime: Object, artifact: Any = MODEL, **spec: Any) -> World:
    """Returns a world in which an artifact is served by NVIDIA's operator."""
    listed = ["tickets", "tickets-base"] if artifact == ADAPTER else ["tickets"]
    deployment = build_deployment(backend="NIMService", runtime=runtime, **spec)
    return World(deployment, publish(artifact), artifact, listed=listed)


def serve(runtime: Object, artifact: Any = MODEL, **spec: Any) -> World:
    """Returns the same, settled."""
    world = build_world(runtime, artifact, **spec)
    assert world.settle()["state"] == "Ready"
    return world


@pytest.mark.parametrize(
    ("runtime", "artifact", "image", "variables"),
    [
        pytest.param(
            MULTI,
            MODEL,
            {"repository": "nim/llm-nim", "tag": "1.15.5"},
            {
                "NIM_MODEL_NAME": "/model-store/model",
                "NIM_MODEL_PROFILE": "vllm",
                "NIM_SERVED_MODEL_NAME": "tickets",
            },
            id="V1, full weights",
        ),
        pytest.param(
            {**MULTI, "image": "nim/model-free-nim:2.0.6"},
            ADAPTER,
            {"repository": "nim/model-free-nim", "tag": "2.0.6"},
            {
                "NIM_MODEL_PATH": "/model-store/model",
                "NIM_PASSTHROUGH_ARGS": "--enable-lora --max-lora-rank 8",
                "NIM_PEFT_SOURCE": "/model-store/adapters",
                "NIM_SERVED_MODEL_NAME": "tickets-base",
            },
            id="V2, an adapter beside its base",
        ),
        pytest.param(
            MADE_FOR_ONE,
            ADAPTER,
            {"repository": "nim/llama", "tag": "1.8.6"},
            {
                "NIM_MAX_LORA_RANK": "8",
                "NIM_PEFT_SOURCE": "/model-store/adapters",
                "NIM_SERVED_MODEL_NAME": "tickets-base",
            },
            id="V1 made for one model, an adapter of it",
        ),
        pytest.param(
            MADE_FOR_ONE,
            MODEL,
            {"repository": "nim/llama", "tag": "1.8.6"},
            {
                "NIM_CUSTOM_MODEL": "/model-store/model",
                "NIM_CUSTOM_MODEL_NAME": "tickets",
                "NIM_FT_MODEL": "/model-store/model",
                "NIM_SERVED_MODEL_NAME": "tickets",
            },
            id="V1 made for one model, full weights",
        ),
    ],
)
def test_a_nim_service_stages_verified_weights_before_its_server(
    runtime: Object, artifact: Any, image: Object, variables: dict[str, str]
) -> None:
    world = serve(runtime, artifact)
    spec = dict(world.get(NIM_SERVICE, "bot")["spec"])
    annotations = spec.pop("annotations")
    serving = Serving.model_validate_json(annotations[FILE_ANNOTATION])
    assert serving.artifact is not None
    assert serving.artifact.manifest_digest == artifact.manifest_digest
    assert serving.base_in_image == (runtime["type"] == "ModelSpecificNIM")
    told = sorted({**CACHES, **variables}.items())
    assert spec == {
        "image": {**image, "pullPolicy": "IfNotPresent"},
        "authSecret": "ngc",
        "env": [*({"name": name, "value": value} for name, value in told), LICENCE],
        "storage": {"emptyDir": {}},
        "labels": {"customizer.dev/model-deployment": "bot", "app.kubernetes.io/component": "server"},
        "initContainers": [
            {
                "name": "stage",
                "image": {"repository": "io", "tag": "1", "pullPolicy": "IfNotPresent"},
                "command": ["python", "-m", "customizer_trainer", "stage"],
                "env": [
                    {"name": "HOME", "value": "/tmp"},
                    {"name": "TMPDIR", "value": "/tmp"},
                    {"name": "USER", "value": "customizer"},
                    *(
                        {"name": name, "valueFrom": {"secretKeyRef": {"name": "keys", "key": name}}}
                        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
                    ),
                    {"name": "HF_HUB_OFFLINE", "value": "0"},
                    {"name": "HF_HOME", "value": "/scratch/huggingface"},
                    {
                        "name": "CUSTOMIZER_SERVING",
                        "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{FILE_ANNOTATION}']"}},
                    },
                ],
            }
        ],
        **{
            f"{name}Probe": {
                "enabled": True,
                "probe": {
                    "httpGet": {"path": f"/v1/health/{path}", "port": "api"},
                    "periodSeconds": period,
                    "timeoutSeconds": 5,
                    "failureThreshold": failures,
                },
            }
            for name, path, period, failures in (
                ("startup", "ready", 10, 180),
                ("readiness", "ready", 5, 3),
                ("liveness", "live", 10, 6),
            )
        },
        "expose": {"service": {"type": "ClusterIP", "port": 8000}},
        "replicas": 1,
    }
    assert (SERVICE, "bot") not in world.objects


def test_every_setting_that_a_nim_service_has_reaches_it() -> None:
    world = serve(
        {**MULTI, "device": "gpu", "tensorParallelSize": 2, "ngcSecretRef": {"name": "ngc", "key": "KEY"}},
        nodeSelector={"nvidia.com/gpu.present": "true", "gpu": "h100"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        priorityClassName="high",
        imagePullSecrets=[{"name": "nvcr"}],
        sharedMemory="16Gi",
        resources={"limits": {"memory": "32Gi"}},
        service={"type": "LoadBalancer", "annotations": {"a": "b"}},
    )
    spec = world.get(NIM_SERVICE, "bot")["spec"]
    assert spec["resources"] == {"limits": {"memory": "32Gi", "nvidia.com/gpu": "2"}}
    assert spec["image"]["pullSecrets"] == spec["initContainers"][0]["image"]["pullSecrets"] == ["nvcr"]
    assert spec["storage"]["sharedMemorySizeLimit"] == "16Gi"
    assert spec["expose"] == {"service": {"type": "LoadBalancer", "port": 8000, "annotations": {"a": "b"}}}
    assert spec["priorityClassName"] == "high"
    # NVIDIA's operator writes the values of a nodeSelector without quotes, so that "true" would be no text any more.
    assert "nodeSelector" not in spec
    (term,) = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "gpu", "operator": "In", "values": ["h100"]},
        {"key": "nvidia.com/gpu.present", "operator": "In", "values": ["true"]},
    ]
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert spec["authSecret"] == "ngc"
    assert {"name": "NGC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "ngc", "key": "KEY"}}} in spec["env"]


@pytest.mark.parametrize(
    ("image", "repository", "tag"),
    [
        ("nvcr.io/nim/nvidia/llm-nim:1.15.5", "nvcr.io/nim/nvidia/llm-nim", "1.15.5"),
        ("mirror.example:5000/nim/llm-nim", "mirror.example:5000/nim/llm-nim", "latest"),
        ("llm-nim", "llm-nim", "latest"),
        ("mirror.example:5000/llm-nim@sha256:ab12", "mirror.example:5000/llm-nim@sha256", "ab12"),
        ("llm-nim:1.15.5@sha256:ab12", "llm-nim:1.15.5@sha256", "ab12"),
    ],
)
def test_an_image_is_split_so_that_a_colon_puts_it_together(image: str, repository: str, tag: str) -> None:
    assert split_image(image) == {"repository": repository, "tag": tag}


def test_more_replicas_restart_none_and_another_artifact_restarts_all() -> None:
    world = serve(MULTI)
    before = world.get(DEPLOYMENT, "bot")["spec"]["template"]
    world.change(replicas=2)
    status = world.settle()
    assert (status["state"], status["readyReplicas"]) == ("Ready", 2)
    assert world.get(DEPLOYMENT, "bot")["spec"]["template"] == before
    later = MODEL.model_copy(update={"manifest_digest": "b" * 64})
    world.job, world.verdict = publish(later), later
    assert world.settle()["state"] == "Ready"
    assert world.get(DEPLOYMENT, "bot")["spec"]["template"] != before
    world.change(suspend=True)
    assert world.settle()["state"] == "Stopped"


def test_a_cluster_without_nvidias_operator_is_told_what_to_install() -> None:
    world = build_world(MULTI)
    world.unknown = {Served(NIM_SERVICE)}
    status = world.settle()
    assert condition(status, "Stalled") == ("True", "ResourceUnknown")
    assert "install NVIDIA's NIM operator, or remove spec.backend" in status["message"]


def test_a_deployment_of_somebody_else_is_not_taken_over() -> None:
    world = build_world(MULTI)
    world.others[Exists(DEPLOYMENT, "team", "bot")] = {"metadata": {"name": "bot"}}
    assert condition(world.settle(), "Stalled") == ("True", "NameTaken")
    assert (NIM_SERVICE, "bot") not in world.objects


def test_what_nvidias_operator_cannot_do_is_told_in_its_words() -> None:
    world = serve(MULTI)
    failed = {"type": "Failed", "status": "True", "reason": "ServiceFailed", "message": "no such profile"}
    world.objects[NIM_SERVICE, "bot"] = {**world.get(NIM_SERVICE, "bot"), "status": {"conditions": [failed]}}
    status = world.settle()
    assert condition(status, "Stalled") == ("True", "NIMServiceFailed")
    assert "no such profile" in status["message"]


def test_a_nim_service_that_nobody_notices_is_told() -> None:
    world = build_world(MULTI)
    world.nvidia_is_away = True
    assert world.settle()["state"] == "Starting"
    world.now += timedelta(seconds=31)
    status = world.settle()
    assert condition(status, "Stalled") == ("True", "NIMOperatorMissing")
    assert "check that NVIDIA's NIM operator runs" in status["message"]
    world.nvidia_is_away = False
    assert world.settle()["state"] == "Ready"


def test_a_restricted_namespace_is_told_to_be_the_wrong_one() -> None:
    world = build_world(MULTI)
    world.settle()
    server = world.get(DEPLOYMENT, "bot")
    message = 'pods "bot-1" is forbidden: violates PodSecurity "restricted:latest"'
    refusal = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    world.frozen = {**server, "status": {"conditions": [refusal]}}
    for name in [name for resource, name in world.objects if resource == POD and not name.startswith("bot-verify")]:
        world.remove(POD, name)
    status = world.settle()
    assert condition(status, "Stalled") == ("True", "PodSecurityRefused")
    assert "choose another namespace, or backend: Deployment" in status["message"]
    assert "webhook" not in status["message"]


@pytest.mark.parametrize(
    ("job", "artifact", "message"),
    [
        pytest.param(
            {"model": {"persistentVolumeClaim": {"claimName": "models"}}}, ADAPTER, "lies on a volume", id="a volume"
        ),
        pytest.param({"objectStorage": {"serviceAccountName": "reader"}}, MODEL, "credentialsSecretRef", id="identity"),
    ],
)
def test_what_a_job_needs_and_its_pods_cannot_do_is_refused(job: Object, artifact: Any, message: str) -> None:
    world = build_world({**MULTI, "image": "nim/model-free-nim:2.0.6"}, artifact)
    published = publish(artifact)
    world.job = {**published, "spec": {**build_job()["spec"], **job}}
    status = world.settle()
    assert condition(status, "Stalled") == ("True", "NotTakenByBackend")
    assert message in status["message"]
    assert (NIM_SERVICE, "bot") not in world.objects


@pytest.mark.parametrize(
    ("container", "end", "words"),
    [
        pytest.param("bot-ctr", {"exitCode": 137, "reason": "OOMKilled"}, "memory did not suffice", id="the server"),
        pytest.param("stage", {"exitCode": 1, "message": ""}, "The weights cannot be staged", id="the stage"),
    ],
)
def test_a_container_that_ends_is_explained(container: str, end: Object, words: str) -> None:
    world = build_world(MULTI, **ARTIFACT)
    world.listed = None
    kind = "initContainerStatuses" if container == "stage" else "containerStatuses"
    state = {"lastState": {"terminated": end}, "restartCount": 3}
    world.server_status = {"phase": "Running", kind: [{"name": container, **state}]}
    status = world.settle()
    assert (POD, "bot-0") in world.objects
    assert condition(status, "Ready")[0] == "False"
    assert words in status["message"]
