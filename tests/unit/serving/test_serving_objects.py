"""What the pods of a ModelDeployment are given."""

from typing import Any

import pytest

from customizer_contract.result import BaseVersion, Result
from customizer_contract.serving import Serving
from customizer_operator.objects.serving_pods import FILE_ANNOTATION
from customizer_operator.plan.plan import DEPLOYMENT, JOB
from tests.unit.serving.world import ADAPTER, ARTIFACT, DIGEST, MODEL, World, build_deployment, publish, served


def test_servers_are_pinned_to_the_manifest_that_was_verified() -> None:
    world = World(build_deployment(**ARTIFACT), verdict=ADAPTER)
    world.settle()
    template = world.get(DEPLOYMENT, "bot")["spec"]["template"]
    serving = Serving.model_validate_json(template["metadata"]["annotations"][FILE_ANNOTATION])
    assert serving.artifact is not None
    assert serving.artifact.manifest_digest == DIGEST


def test_servers_are_pinned_to_the_state_of_the_base_that_was_verified_also_by_the_next_operator() -> None:
    base = BaseVersion(digest="c" * 64, revision="1" * 40)
    world = World(
        build_deployment(**ARTIFACT), verdict=Result(command="verify", artifact=ADAPTER, base=base), listed=["tickets"]
    )
    for _ in range(2):
        status = world.settle()
        template = world.get(DEPLOYMENT, "bot")["spec"]["template"]
        serving = Serving.model_validate_json(template["metadata"]["annotations"][FILE_ANNOTATION])
        assert (serving.base, status["verifiedBase"]["digest"]) == (base, "c" * 64)
        # The status knows it when the Job has gone.
        world.objects.pop((JOB, "bot-verify"), None)


def test_credentials_come_by_reference_and_only_to_who_reads_the_store() -> None:
    world = served()
    pod = world.get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]
    (stage,), (server,) = pod["initContainers"], pod["containers"]
    secrets = [entry["valueFrom"]["secretKeyRef"]["name"] for entry in stage["env"] if "valueFrom" in entry]
    assert secrets == ["keys", "keys"]
    assert not [entry for entry in server["env"] if "valueFrom" in entry]
    assert pod["automountServiceAccountToken"] is False
    store = next(mount for mount in server["volumeMounts"] if mount["name"] == "model-store")
    assert store["readOnly"] is True


@pytest.mark.parametrize(
    ("device", "limits"), [("gpu", {"nvidia.com/gpu": "2", "memory": "8Gi"}), ("cpu", {"memory": "8Gi"})]
)
def test_a_server_takes_a_gpu_for_each_rank(device: str, limits: dict[str, str]) -> None:
    runtime = {"type": "VLLM", "device": device, "tensorParallelSize": 2}
    world = served(runtime=runtime, resources={"limits": {"memory": "8Gi"}})
    (server,) = world.get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]["containers"]
    assert server["resources"] == {"limits": limits}


@pytest.mark.parametrize(("spec", "drain", "grace"), [({}, 30, 60), ({"drainSeconds": 600}, 600, 630)])
def test_a_server_that_goes_first_answers_what_it_was_asked(spec: dict[str, int], drain: int, grace: int) -> None:
    pod = served(**spec).get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    assert server["lifecycle"]["preStop"] == {"sleep": {"seconds": drain}}
    assert pod["terminationGracePeriodSeconds"] == grace


def test_a_claim_with_the_base_model_is_mounted_where_it_is_read() -> None:
    claim = {"claimName": "models", "path": "smollm2"}
    model = {"artifact": {"uri": "s3://demo/out", "baseModel": {"persistentVolumeClaim": claim}}}
    world = served(model=model)
    pod = world.get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert {"name": "model", "mountPath": "/volumes/model", "readOnly": True} in container["volumeMounts"]


def test_a_chat_template_reaches_the_server_as_a_file_and_a_changed_one_rolls_it() -> None:
    world = served(runtime={"type": "VLLM", "chatTemplate": "{{ messages }}"})
    template = world.get(DEPLOYMENT, "bot")["spec"]["template"]
    (server,) = template["spec"]["containers"]
    assert template["metadata"]["annotations"]["customizer.dev/chat-template"] == "{{ messages }}"
    mount = next(mount for mount in server["volumeMounts"] if mount["name"] == "chat-template")
    volume = next(volume for volume in template["spec"]["volumes"] if volume["name"] == "chat-template")
    (item,) = volume["downwardAPI"]["items"]
    assert f"{mount['mountPath']}/{item['path']}" in server["args"]


def test_the_licence_comes_by_reference_and_to_the_server_alone() -> None:
    runtime = {"type": "MultiLLM", "ngcSecretRef": {"name": "ngc"}}
    pod = served(runtime=runtime).get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]
    (stage,), (server,) = pod["initContainers"], pod["containers"]
    licence = {"name": "NGC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "ngc", "key": "NGC_API_KEY"}}}
    assert licence in server["env"]
    assert licence not in stage["env"]


def test_the_key_of_a_server_comes_by_reference_to_it_and_its_sidecar_and_is_written_nowhere() -> None:
    world = World(
        build_deployment(runtime={"type": "VLLM", "apiKeySecretRef": {"name": "door"}}),
        publish(ADAPTER),
        ADAPTER,
        listed=["tickets", "tickets-base"],
        has_key=True,
    )
    status = world.settle()
    assert (status["state"], status["readyReplicas"]) == ("Ready", 1)
    pod = world.get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]
    (stage, sidecar), (server,) = pod["initContainers"], pod["containers"]
    key = {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": "door", "key": "API_KEY"}}}
    assert [key in container["env"] for container in (stage, sidecar, server)] == [False, True, True]
    assert "--api-key" not in server["args"]


def test_a_server_that_asks_for_a_key_is_ready_when_its_sidecar_says_what_it_lists() -> None:
    world = World(
        build_deployment(runtime={"type": "VLLM", "apiKeySecretRef": {"name": "door"}}),
        publish(ADAPTER),
        ADAPTER,
        listed=["tickets-base"],
        has_key=True,
    )
    assert world.settle()["message"] == "A server answers but does not list tickets."


def test_a_model_specific_nim_is_given_an_adapter_but_not_its_base() -> None:
    runtime = {"type": "ModelSpecificNIM", "image": "nim/llama:1.8.6"}
    template = served(runtime=runtime).get(DEPLOYMENT, "bot")["spec"]["template"]
    serving = Serving.model_validate_json(template["metadata"]["annotations"][FILE_ANNOTATION])
    assert serving.base_in_image
    assert serving.model is None


def test_a_model_specific_nim_serves_full_weights_in_place_of_its_own() -> None:
    runtime = {"type": "ModelSpecificNIM", "image": "nim/llama:1.8.6"}
    world = World(build_deployment(runtime=runtime), publish(MODEL), MODEL, listed=["tickets"])
    assert world.settle()["state"] == "Ready"
    (server,) = world.get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]["containers"]
    assert {"name": "NIM_FT_MODEL", "value": "/model-store/model"} in server["env"]


def direct(**spec: Any) -> World:
    """Returns a world in which a NIM of generation V2 reads full weights by itself."""
    runtime = {"type": "MultiLLM", "image": "nim/model-free-nim:2.0.6", "device": "cpu"}
    world = World(
        build_deployment(runtime=runtime, weights="Direct", **spec), publish(MODEL), MODEL, listed=["tickets"]
    )
    world.settle()
    return world


def test_a_nim_that_reads_the_store_by_itself_is_told_where_and_its_stage_compares_without_a_copy() -> None:
    template = direct().get(DEPLOYMENT, "bot")["spec"]["template"]
    (server,) = template["spec"]["containers"]
    values = {entry["name"]: entry.get("value") for entry in server["env"]}
    assert values["NIM_MODEL_PATH"] == "s3://demo/out"
    assert (values["AWS_ENDPOINT_URL"], values["AWS_REGION"]) == ("http://s3:7070", "us-east-1")
    secrets = [entry["valueFrom"]["secretKeyRef"] for entry in server["env"] if "valueFrom" in entry]
    assert secrets == [{"name": "keys", "key": key} for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    assert Serving.model_validate_json(template["metadata"]["annotations"][FILE_ANNOTATION]).direct


def test_only_a_nim_of_v2_and_full_weights_may_be_read_directly() -> None:
    old = World(build_deployment(runtime={"type": "MultiLLM"}, weights="Direct"), publish(MODEL), MODEL, listed=[])
    assert "generation V1, which reads weights from its disk alone" in old.settle()["message"]
    world = direct()
    world.job, world.verdict = publish(ADAPTER), ADAPTER
    assert "tickets is an adapter, whose base must lie on the server's disk" in world.settle()["message"]


def test_a_native_nim_finds_its_model_where_it_looks_and_may_write_its_kernels() -> None:
    world = World(
        build_deployment(runtime={"type": "MultiLLM", "generation": "Engine"}),
        publish(MODEL),
        MODEL,
        listed=["tickets"],
    )
    assert world.settle()["state"] == "Ready"
    (server,) = world.get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]["containers"]
    store = next(mount for mount in server["volumeMounts"] if mount["name"] == "model-store")
    assert store["mountPath"] == "/model"
    assert {"name": "cache", "mountPath": "/opt/cache", "subPath": "kernels"} in server["volumeMounts"]


def test_servers_share_a_cache_that_only_stage_may_write() -> None:
    spec = {"cache": {"claimName": "weights"}, "runtime": {"type": "VLLM", "lora": {}}}
    template = served(**spec).get(DEPLOYMENT, "bot")["spec"]["template"]
    pod = template["spec"]
    (stage, sidecar), (server,) = pod["initContainers"], pod["containers"]
    assert {"name": "model-cache", "persistentVolumeClaim": {"claimName": "weights"}} in pod["volumes"]
    assert {"name": "model-cache", "mountPath": "/model-cache"} in stage["volumeMounts"]
    for reader in (sidecar, server):
        assert {"name": "model-cache", "mountPath": "/model-cache", "readOnly": True} in reader["volumeMounts"]
    assert Serving.model_validate_json(template["metadata"]["annotations"][FILE_ANNOTATION]).cached


@pytest.mark.parametrize(("artifact", "shares"), [(ADAPTER, True), (MODEL, False)])
def test_a_nim_that_brings_its_base_by_itself_brings_it_to_the_cache(artifact: Any, shares: bool) -> None:
    runtime = {"type": "ModelSpecificNIM", "image": "nim/llama:1.8.6"}
    spec = build_deployment(runtime=runtime, cache={"claimName": "weights"})
    world = World(spec, publish(artifact), artifact, listed=["tickets", "tickets-base"])
    world.settle()
    (server,) = world.get(DEPLOYMENT, "bot")["spec"]["template"]["spec"]["containers"]
    assert {"name": "NIM_CACHE_PATH", "value": "/cache/nim"} in server["env"]
    mount = {"name": "model-cache", "mountPath": "/cache/nim", "subPath": "nim"}
    assert (mount in server["volumeMounts"]) == shares
