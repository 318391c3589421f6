"""A ModelDeployment on a real apiserver: what is refused, and its life under the operator's own rights."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from customizer_contract.result import Result
from customizer_operator.api.model_runtime import PORT
from tests.api.control_plane import ApiRefusedError
from tests.api.world import Object, World, timestamp
from tests.support import samples

KIND = "modeldeployments"
ADDRESS = "127.0.0.78"
ARTIFACT = {"artifact": {"uri": "s3://bucket/out"}}
BASE = {"s3": {"uri": "s3://bucket/model"}}
HELD_OUT = {"dataset": {"s3": {"uri": "s3://bucket/held-out.jsonl"}}}


def deployment(name: str = "bot", **spec: Any) -> Object:
    """A ModelDeployment of a published artifact; members of the spec can be replaced."""
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": ARTIFACT, "runtime": {"type": "VLLM", "image": "registry.test/vllm:1"}, **spec},
    }


def runtime(**parts: Any) -> Object:
    """A spec with a runtime of its own; VLLM unless it says otherwise."""
    return {"runtime": {"type": "VLLM", **parts}}


def canary(**parts: Any) -> Object:
    """A spec whose versions are tried by a canary."""
    return {"evaluation": HELD_OUT, "rollout": {"strategy": "Canary", **parts}}


NIM: Object = {"type": "MultiLLM", "image": "registry.test/llm-nim:1.15.5"}
NVIDIA: Object = {"backend": "NIMService", "runtime": {**NIM, "ngcSecretRef": {"name": "ngc"}}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"model": {}}, "name exactly one of customizationJobRef, artifact, huggingFace, s3"),
        ({"model": {"customizationJobRef": {"name": "a", "manifestDigest": "a" * 64}}}, "goes with promotion: Manual"),
        ({"model": {"customizationJobRef": {"name": "a*b"}}}, "should match"),
        ({"model": {**ARTIFACT, **BASE}}, "name exactly one of customizationJobRef, artifact, huggingFace, s3"),
        ({"model": {"artifact": {"uri": "s3://b/out", "manifestDigest": "abc"}}}, "should match"),
        (runtime(type="Triton"), "supported values"),
        (runtime(generation="V2"), "generation, profile and ngcSecretRef are for NIM images"),
        (runtime(type="ModelSpecificNIM"), "name the image"),
        (runtime(type="MultiLLM", generation="V1", quantization="fp8"), "quantizes by its profile"),
        (runtime(type="MultiLLM", generation="Engine", maxModelLen=64), "set up by env alone"),
        (runtime(args=["--api-key=x"]), "the operator sets --model"),
        (runtime(type="MultiLLM", generation="V1", args=["--x"]), "takes no arguments"),
        (runtime(args=["--max-num-seqs", "--port=1"]), "the operator sets --model, --served-model-name"),
        (runtime(args=["--served_model_name=x"]), "the operator sets --model, --served-model-name"),
        (runtime(args=["--enforce-eager", "--lora_modules", "a=/x"]), "the operator sets --model, --served-model-name"),
        (runtime(args=["--served-model-n=x"]), "the operator sets --model, --served-model-name"),
        (runtime(args=["--served-model-name.a", "x"]), "the operator sets --model, --served-model-name"),
        (runtime(args=["--enforce-eager", "--", "other"]), "the operator sets --model, --served-model-name"),
        (runtime(args=["--config=/tmp/a.yaml"]), "none of them may come by --config"),
        (runtime(args=["other/model", "--enforce-eager"]), "the first must begin with - or --"),
        (runtime(args=["-1"]), "the first must begin with - or --"),
        (runtime(env=[{"name": "NIM_PEFT_SOURCE", "value": "/x"}]), "the operator sets this variable"),
        (runtime(env=[{"name": "NIM_MAX_LORA_RANK", "value": "8"}]), "the operator sets this variable"),
        (runtime(env=[{"name": "NIM_PEFT_REFRESH_INTERVAL", "value": "8"}]), "the operator sets this variable"),
        (runtime(env=[{"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "0"}]), "the operator sets this variable"),
        (runtime(env=[{"name": "A"}]), "exactly one of value and valueFrom"),
        (runtime(env=[{"name": "VLLM_API_KEY", "value": "x"}]), "use runtime.servedModelName, runtime.apiKeySecretRef"),
        (runtime(type="MultiLLM", apiKeySecretRef={"name": "a"}), "a NIM checks no keys"),
        (runtime(servedModelName="with/slash"), "should match"),
        (runtime(tensorParallelSize=0), "should be greater than or equal to 1"),
        ({"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}, "minReplicas must not be more than maxReplicas"),
        ({"autoscaling": {"maxReplicas": 2, "metric": "m", "cpuUtilization": 50}}, "give metric or cpuUtilization"),
        ({"updateStrategy": {"maxSurge": 0}}, "maxSurge and maxUnavailable cannot both be 0"),
        ({"networkPolicy": {"allowFrom": [{}]}}, "give namespaceLabels, podLabels or both"),
        ({"ingress": {"host": "no host"}}, "should match"),
        ({"adapters": [{"name": "a", **ARTIFACT}]}, "adapters need a server that takes them: add runtime.lora"),
        (runtime(lora={"maxRank": 12}), "supported values"),
        (runtime(lora={"maxGpuAdapters": 9, "maxCpuAdapters": 8}), "maxCpuAdapters must be at least"),
        ({"adapters": [{"name": "a"}], **runtime(lora={})}, "exactly one of customizationJobRef and artifact"),
        ({"adapters": [{"name": "a", **ARTIFACT}] * 2, **runtime(lora={})}, "Duplicate value"),
        ({"probe": {"expectedText": "a"}}, "exactly one of prompt and messages"),
        ({"probe": {"prompt": "a", "expectedText": "a", "expectedPattern": "a"}}, "exclude one another"),
        ({"evaluation": {}}, "name what is asked in evaluation.dataset"),
        ({"evaluation": {**HELD_OUT, "metric": "Perplexity"}}, "supported values"),
        ({"evaluation": {**HELD_OUT, "metric": "Loss"}, **runtime(lora={})}, "with room for adapters cannot be asked"),
        (
            {"evaluation": {**HELD_OUT, "metric": "Loss"}, "weights": "Direct", **runtime(type="MultiLLM")},
            "which is not staged with weights: Direct",
        ),
        ({"rollout": {"strategy": "Canary"}}, "a canary is judged by its score: add evaluation"),
        ({"rollout": {"minimumScore": 0.5}}, "goes with strategy: Canary"),
        (canary(compareWith="None"), "nothing decides about a canary"),
        (canary(minimumScore=1.5), "should be less than or equal to 1"),
        ({"weights": "Direct"}, "only a NIM of generation V2 reads s3:// itself"),
        (
            {"weights": "Direct", **runtime(type="MultiLLM", lora={})},
            "cache and runtime.lora need the weights",
        ),
        (
            {"weights": "Direct", **runtime(type="MultiLLM"), "model": {"huggingFace": {"repo": "a/b"}}},
            "reads weights by itself from S3 alone",
        ),
        ({"backend": "NIMService"}, "a NIMService runs NIMs of generation V1 or V2"),
        ({**NVIDIA, "runtime": NIM}, "name it in runtime.ngcSecretRef"),
        ({**NVIDIA, "tolerations": [{"tolerationSeconds": 60}]}, "remove tolerationSeconds"),
        ({**NVIDIA, "probe": {"prompt": "a"}}, "have no room for probe, evaluation"),
        ({**NVIDIA, **runtime(type="MultiLLM", lora={})}, "have no room for probe, evaluation"),
        ({**NVIDIA, "service": {"port": 80}}, "service.port must be 8000"),
        ({**NVIDIA, "objectStorage": {"serviceAccountName": "a"}}, "use objectStorage.credentialsSecretRef"),
        ({**NVIDIA, "model": {"persistentVolumeClaim": {"claimName": "a"}}}, "mount no volumes of others"),
        ({"replicas": -1}, "should be greater than or equal to 0"),
        ({"sufix": True}, "unknown field"),
    ],
)
def test_a_mistake_is_refused_with_what_to_change(world: World, spec: Object, words: str) -> None:
    with pytest.raises(ApiRefusedError) as refusal:
        world.create(KIND, deployment(**spec))
    assert words in refusal.value.message


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-loras", "2", "--model-impl=auto", "--config-format", "hf", "-tp", "2"],
        ["--hf-overrides.rope_scaling.type=yarn", "--max_num_seqs=4", "--enforce-eager"],
        [],
    ],
)
def test_options_that_the_operator_does_not_set_are_the_users(world: World, arguments: list[str]) -> None:
    world.create(KIND, deployment(**runtime(args=arguments)))


def test_the_backend_stays(world: World) -> None:
    world.create(KIND, deployment(**NVIDIA))
    with pytest.raises(ApiRefusedError, match="delete the ModelDeployment and create it anew"):
        world.patch(KIND, "bot", {"spec": {"backend": "Deployment"}})


@pytest.mark.parametrize("name", ["a" * 53, "1st", "with.dot"])
def test_a_name_that_no_service_can_have_is_refused(world: World, name: str) -> None:
    with pytest.raises(ApiRefusedError, match=r"metadata\.name must start with a letter"):
        world.create(KIND, deployment(name))


@contextmanager
def serve_models(*names: str) -> Iterator[None]:
    """Answers as a server does."""
    body = json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode()

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer((ADDRESS, PORT), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


def verify(world: World, result: str, code: int = 0, name: str = "bot") -> None:
    """Lets the verify Job end, as its controller and a kubelet do."""
    job = world.wait_for("jobs", f"{name}-verify") | {"apiVersion": "batch/v1", "kind": "Job"}
    pod = world.make_pod(job, job["spec"]["template"], f"{name}-verify-x", {})
    world.end_pod(pod["metadata"]["name"], code, result)
    world.finish_job(f"{name}-verify", succeeded=code == 0)


def roll_out(world: World) -> None:
    """Makes the one server and lets it run, as the Deployment's controller and a kubelet do."""
    owner = world.wait_for("deployments", "bot") | {"apiVersion": "apps/v1", "kind": "Deployment"}
    if world.get("pods", "bot-0") is None:
        replica_set = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "bot-1", "uid": "set-1"}}
        world.make_pod(replica_set, owner["spec"]["template"], "bot-0", {"pod-template-hash": "1"})
    world.run_pod("bot-0", ADDRESS)
    ready = [{"type": "Ready", "status": "True", "lastTransitionTime": timestamp()}]
    world.patch("pods", "bot-0", {"status": {"conditions": ready}}, "/status")
    generation = owner["metadata"]["generation"]
    counts = {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    world.patch("deployments", "bot", {"status": counts}, "/status")


def serve(world: World) -> None:
    """Brings a deployment to where its server runs."""
    world.create(KIND, deployment())
    verify(world, served())
    roll_out(world)


def served() -> str:
    """What `verify` says of the artifact that a job of the samples makes."""
    artifact = Result.model_validate_json(samples.trained()).artifact
    return Result(command="verify", artifact=artifact).to_json()


def wait_for(world: World, kind: str, status: str = "True", reason: str | None = None) -> Object:
    """Waits for a condition of the deployment."""
    return world.wait_for_condition("bot", kind, status, reason, KIND)


def names() -> list[str]:
    """The names under which the sample's artifact is served."""
    artifact = Result.model_validate_json(samples.trained()).artifact
    assert artifact is not None
    return [artifact.name, f"{artifact.name}-base"] if artifact.adapter else [artifact.name]


@pytest.mark.usefixtures("operator")
def test_it_is_ready_when_its_server_lists_what_it_should(world: World) -> None:
    with serve_models(*names()):
        serve(world)
        wait_for(world, "Ready")
    status = (world.get(KIND, "bot") or {})["status"]
    assert [model["name"] for model in status["models"]] == names()
    assert status["url"] == f"http://bot.{world.namespace}.svc:8000"
    table = world.plane.kubectl("get", "md", "-n", world.namespace)
    assert status["url"] in table
    assert world.get("services", "bot") is not None
    for plural in ("jobs", "deployments", "services"):
        for item in world.all(plural):
            assert item["metadata"]["ownerReferences"][0]["name"] == "bot"


COMPANIONS: dict[str, tuple[str, Object]] = {
    "horizontalpodautoscalers": ("autoscaling", {"maxReplicas": 2}),
    "ingresses": ("ingress", {"host": "bot.example.com", "className": "c", "tlsSecretName": "t"}),
    "httproutes": ("httpRoute", {"gateway": {"name": "edge", "sectionName": "https"}, "hostnames": ["a.example.com"]}),
    "servicemonitors": ("serviceMonitor", {"labels": {"release": "prometheus"}}),
    "networkpolicies": (
        "networkPolicy",
        {"allowFrom": [{"podLabels": {"app": "web"}}, {"namespaceLabels": {"a": "b"}}]},
    ),
}


@pytest.mark.usefixtures("operator", "integrations")
def test_what_stands_beside_the_servers_comes_and_goes_with_the_spec(world: World) -> None:
    world.create(KIND, deployment(**dict(COMPANIONS.values())))
    verify(world, served())
    for plural in ("poddisruptionbudgets", *COMPANIONS):
        assert world.wait_for(plural, "bot")["metadata"]["ownerReferences"][0]["name"] == "bot"
    world.patch(KIND, "bot", {"spec": {member: None for member, _ in COMPANIONS.values()}})
    for plural in COMPANIONS:
        world.wait(f"the end of {plural}", lambda plural=plural: world.get(plural, "bot") is None)
    assert world.get("poddisruptionbudgets", "bot") is not None


@pytest.mark.usefixtures("operator")
def test_a_server_that_lists_something_else_is_not_ready(world: World) -> None:
    with serve_models("other"):
        serve(world)
        world.wait("the reason", lambda: "does not list" in (world.get(KIND, "bot") or {})["status"]["message"])
    wait_for(world, "Ready", "False")


@pytest.mark.usefixtures("operator")
def test_a_change_is_not_ready_before_it_is_rolled_out(world: World) -> None:
    with serve_models(*names()):
        serve(world)
        wait_for(world, "Ready")
        world.patch(KIND, "bot", {"spec": {"runtime": {"maxModelLen": 512}}})
        assert wait_for(world, "Ready", "False")["observedGeneration"] == 2
        args = (world.get("deployments", "bot") or {})["spec"]["template"]["spec"]["containers"][0]["args"]
        assert "512" in args
        roll_out(world)
        assert wait_for(world, "Ready")["observedGeneration"] == 2


@pytest.mark.usefixtures("operator")
def test_at_rest_nothing_is_written(world: World) -> None:
    def versions() -> dict[str, str]:
        found = [item for plural in (KIND, "deployments", "services", "events") for item in world.all(plural)]
        return {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in found}

    with serve_models(*names()):
        serve(world)
        wait_for(world, "Ready")
        before = versions()
        with pytest.raises(AssertionError, match="a write"):
            world.wait("a write", lambda: versions() != before, patience=3)


@pytest.mark.usefixtures("operator")
def test_it_goes_on_when_its_job_has_published(world: World) -> None:
    world.create(KIND, deployment(model={"customizationJobRef": {"name": "tickets"}}))
    wait_for(world, "Stalled", reason="JobNotFound")
    world.create("customizationjobs", samples.job(deployment={"runtime": {"type": "VLLM"}}))
    wait_for(world, "Ready", "False", "JobNotComplete")
    world.pass_preflight("tickets", samples.passed())
    for pod in world.make_workers("tickets-a1"):
        world.run_pod(pod)
        world.end_pod(pod, 0, samples.trained())
    world.set_training_job("tickets-a1", "Created", "Succeeded")
    world.wait_for_condition("tickets", "Complete")
    job = world.wait_for("jobs", "bot-verify")
    assert "s3://bucket/out" in json.dumps(job["spec"]["template"]["metadata"]["annotations"])
    made = world.wait_for(KIND, "tickets")
    assert made["spec"]["model"]["customizationJobRef"]["name"] == "tickets"
    assert "ownerReferences" not in made["metadata"]
