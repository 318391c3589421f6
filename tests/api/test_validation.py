"""What the apiserver itself refuses, and in which words."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.control_plane import ApiRefusedError
from tests.api.world import World
from tests.support import samples

EXAMPLES = sorted((Path(__file__).parents[2] / "manifests" / "examples").glob("*.yaml"))
DATA = {"s3": {"uri": "s3://bucket/d"}}
HUB = {"repo": "org/model", "tokenSecretRef": {"name": "hub"}}


def _unsloth(**blocks: Any) -> dict[str, Any]:
    return {"automodel": None, "unsloth": blocks}


def _parallel(**parallelism: Any) -> dict[str, Any]:
    return {"automodel": {"parallelism": parallelism}}


def _train(**training: Any) -> dict[str, Any]:
    return {"automodel": {"training": training}}


MODEL = {"s3": {"uri": "s3://bucket/m"}}
TEACHER = {"trainingType": "distillation", "teacherModel": MODEL}

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"automodel": None}, "name the backend"),
    ({"unsloth": {}}, "name one backend: remove either automodel or unsloth"),
    (_unsloth(model={"loadIn8bit": True}), "load in 4 or in 8 bits, not both"),
    (
        _unsloth(training={"finetuningType": "all_weights"}),
        "all weights cannot be trained in 4 or 8 bits: write model: {loadIn4bit: false}",
    ),
    (
        _unsloth(model={"loadIn4bit": False}, training={"finetuningType": "all_weights", "lora": {}}),
        "lora is for finetuningType: lora",
    ),
    (
        _unsloth(
            model={"loadIn4bit": False},
            training={"finetuningType": "all_weights"},
            output={"saveMethod": "merged_16bit"},
        ),
        "there is no adapter to merge",
    ),
    (_unsloth(schedule={"warmupSteps": 3, "warmupRatio": 0.0}), "name either warmupSteps or warmupRatio"),
    (_unsloth(training={"useGradientCheckpointing": True}), "must be of type string"),
    (_unsloth(model={"ropeScaling": {"ropeType": "dynamic", "factor": 2}}), "Unsupported value"),
    (_unsloth(model={"ropeScaling": {"ropeType": "llama3", "factor": 2}}), "ropeType: llama3, which needs both"),
    (
        _unsloth(model={"ropeScaling": {"ropeType": "linear", "factor": 2, "originalMaxPositionEmbeddings": 8}}),
        "originalMaxPositionEmbeddings is for ropeType yarn and llama3",
    ),
    (_unsloth(training={"lora": {"modulesToSave": ["q_proj"]}}), "modulesToSave takes embed_tokens, lm_head"),
    (_unsloth(training={"lora": {"layerReplication": [[4, 2]]}}), "[first, end] with first below end"),
    (_unsloth(training={"lora": {"layerReplication": [[0]]}}), "should have at least 2 items"),
    (
        _unsloth(training={"lora": {"layerReplication": [[0, 2]], "layersToTransform": [1]}}),
        "name either layerReplication or layersToTransform",
    ),
    (
        _unsloth(training={"lora": {"layerReplication": [[0, 2]]}}, output={"saveMethod": "merged_4bit"}),
        "cannot be merged into it",
    ),
    (_unsloth(training={"lora": {"initLoraWeights": "pissa"}}), "need weights that are not quantized"),
    (
        _unsloth(model={"loadIn4bit": False}, training={"lora": {"initLoraWeights": "olora", "useDora": True}}),
        "go with neither useDora nor useRslora",
    ),
    (_unsloth(schedule={"lrSchedulerKwargs": {"numCycles": 2}}), "is for lrSchedulerType cosine"),
    (
        _unsloth(schedule={"lrSchedulerType": "cosine_with_restarts", "lrSchedulerKwargs": {"numCycles": 1.5}}),
        "must be a whole number",
    ),
    (_unsloth(model={"dtype": "float16"}), "dtype float16 goes with hardware.precision fp16"),
    ({"integrations": {}}, "name wandb, mlflow or both"),
    ({"integrations": {"wandb": {}}}, "Weights & Biases wants an API key"),
    ({"integrations": {"mlflow": {}}}, "trackingUri: Required value"),
    ({"integrations": {"mlflow": {"trackingUri": "http://me:secret@mlflow"}}}, "should match"),
    ({"model": {}}, "name exactly one of huggingFace, s3 and persistentVolumeClaim"),
    (
        {"model": {"s3": {"uri": "s3://bucket/m"}, "huggingFace": {"repo": "a/b"}}},
        "name exactly one of huggingFace, s3 and persistentVolumeClaim",
    ),
    (
        {"model": {"persistentVolumeClaim": {"claimName": "c", "path": "a/../b"}}},
        "path must stay within the volume",
    ),
    (
        {"automodel": {"parallelism": {"numNodes": 2, "numGpusPerNode": 4, "tensorParallelSize": 8}}},
        "a tensor-parallel group stays within a pod: make numGpusPerNode a multiple of tensorParallelSize",
    ),
    (
        {"scheduling": {"topology": {"allowTensorParallelAcrossNodes": True}}},
        "allowTensorParallelAcrossNodes needs fastDomainLabel",
    ),
    (
        {
            "automodel": {"parallelism": {"numNodes": 4, "numGpusPerNode": 4, "tensorParallelSize": 16}},
            "scheduling": {
                "topology": {
                    "allowTensorParallelAcrossNodes": True,
                    "fastDomainLabel": "nvlink",
                    "fastDomainNodes": 2,
                }
            },
        },
        "a tensor-parallel group stays within a fast domain",
    ),
    (
        {
            "automodel": {"parallelism": {"numNodes": 8, "numGpusPerNode": 8, "tensorParallelSize": 16}},
            "scheduling": {
                "topology": {
                    "allowTensorParallelAcrossNodes": True,
                    "fastDomainLabel": "nvlink",
                    "fastDomainNodes": 2,
                }
            },
        },
        "several tensor-parallel groups that span pods need a scheduler that knows groups: name scheduling.queue",
    ),
    ({"scheduling": {"scheduler": "KAI"}}, "scheduler KAI needs a queue"),
    (
        {"scheduling": {"scheduler": "KAI", "queue": "a", "topology": {"blockLabel": "leaf"}}},
        "topology.name and scheduler KAI go together",
    ),
    ({"scheduling": {"priorityClass": "prod"}}, "priorityClass orders a queue: name the queue"),
    ({"output": {"s3": {"uri": "s3://bucket"}}}, "uri needs a prefix below the bucket"),
    ({"output": {"s3": {"uri": "file:///tmp"}}}, "should match"),
    (
        {"automodel": {"batch": {"globalBatchSize": 6, "microBatchSize": 4}}},
        "batch.globalBatchSize must be a multiple of microBatchSize * numNodes * numGpusPerNode",
    ),
    (
        _parallel(numGpusPerNode=8, tensorParallelSize=3),
        "numNodes * numGpusPerNode must be a multiple of tensorParallelSize * pipelineParallelSize",
    ),
    (
        _parallel(numGpusPerNode=8, tensorParallelSize=2, dataParallelReplicateSize=8),
        "dataParallelReplicateSize must divide the data-parallel size",
    ),
    (
        _parallel(numGpusPerNode=2, dataParallelReplicateSize=2),
        "dataParallelReplicateSize must divide the data-parallel size and be less, unless it is 1",
    ),
    (_parallel(numGpusPerNode=8, expertParallelSize=3), "expertParallelSize must divide the data-parallel size"),
    (
        _parallel(numGpusPerNode=8, expertParallelSize=2, tensorParallelSize=2),
        "expertParallelSize and tensorParallelSize cannot both be more than 1",
    ),
    (_parallel(sequenceParallel=True), "sequenceParallel shares work of the tensor-parallel GPUs"),
    (
        _parallel(numGpusPerNode=2, pipelineParallelSize=2),
        "batch.microBatchSize must be a multiple of pipelineParallelSize",
    ),
    (
        {
            "automodel": {
                "parallelism": {"numGpusPerNode": 4, "contextParallelSize": 4},
                "training": {"maxSeqLength": 100},
            }
        },
        "training.maxSeqLength must be a multiple of 2 * contextParallelSize",
    ),
    (
        {
            "automodel": {
                "parallelism": {"numGpusPerNode": 2, "contextParallelSize": 2},
                "training": {"attnImplementation": "eager"},
            }
        },
        "contextParallelSize above 1 computes attention with sdpa only: remove training.attnImplementation",
    ),
    (
        {"automodel": {"training": {"finetuningType": "all_weights", "lora": {}}}},
        "lora is for finetuningType: lora",
    ),
    (
        {"automodel": {"training": {"attnImplementation": "flash_attention_2"}}},
        "attnImplementation flash_attention_2 needs a GPU",
    ),
    ({"automodel": {"training": {"precision": "fp16"}}}, "precision fp16 needs a GPU"),
    (_train(finetuningType="all_weights", precision="fp8"), "precision fp8 needs a GPU"),
    (_train(precision="fp8"), "precision fp8 is for finetuningType: all_weights"),
    (_train(lora={"useTriton": True}), "lora.useTriton needs a GPU: remove it"),
    (_train(trainingType="distillation"), "a distillation learns from a teacher: name it with teacherModel"),
    (_train(teacherModel=MODEL), "teacherModel is for trainingType: distillation"),
    (_train(distillationRatio=0.4), "distillationRatio is for trainingType: distillation"),
    (_train(distillationTemperature=2), "distillationTemperature is for trainingType: distillation"),
    (_train(teacherPrecision="fp32"), "teacherPrecision is for trainingType: distillation"),
    (_train(offloadTeacher=True), "offloadTeacher is for trainingType: distillation"),
    (_train(**TEACHER, offloadTeacher=True), "offloadTeacher needs a GPU"),
    (_train(**TEACHER, teacherPrecision="fp16"), "teacherPrecision fp16 needs a GPU"),
    (_train(**TEACHER, distillationTemperature=0), "should be greater than 0"),
    (_train(**TEACHER, distillationRatio=1.5), "should be less than or equal to 1"),
    (
        {
            "automodel": {
                "training": TEACHER,
                "batch": {"microBatchSize": 2},
                "parallelism": {"numGpusPerNode": 2, "pipelineParallelSize": 2},
            }
        },
        "a distillation is not validated in a pipeline",
    ),
    ({"objectStorage": {"credentialsSecretRef": {"name": "a"}, "serviceAccountName": "b"}}, "not both"),
    (
        {
            "model": {"huggingFace": HUB},
            "dataset": {
                "training": {"huggingFace": {"repo": "org/data", "tokenSecretRef": {"name": "other"}}},
            },
        },
        "the pods take one Hugging Face token",
    ),
    ({"dataset": {"training": DATA, "promptTemplate": "{a} and more"}}, "should match"),
    ({"dataset": {"training": DATA, "promptTemplate": "Q: {a} A: {b}"}}, "should match"),
    ({"dataset": {"training": DATA, "promptTemplate": "{a} { a }"}}, "promptTemplate must name two columns"),
    ({"objectStorage": {"endpointUrl": "https://name:password@s3.example.com"}}, "should match"),
    ({"compute": {"device": "cpu", "resources": {"requests": {"memory": "two"}}}}, "should match"),
    (_train(lora={"rank": 257}), "should be less than or equal to 256"),
    ({"output": {"s3": {"uri": "s3://bucket/x"}, "name": "my model"}}, "spec.output.name"),
    ({"sufix": True}, "unknown field"),
]
"""What is wrong in a spec, and words that the refusal must hold."""
BAD_NAMES = ["a" * 41, "1st", "with.dot"]


@pytest.mark.parametrize(("spec", "words"), MISTAKES)
def test_a_mistake_is_refused_with_what_to_change(world: World, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiRefusedError) as refusal:
        world.create("customizationjobs", samples.job(**spec))
    assert words in refusal.value.message


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_cannot_be_a_host_name_is_refused(world: World, name: str) -> None:
    with pytest.raises(ApiRefusedError) as refusal:
        world.create("customizationjobs", samples.job(name))
    assert "metadata.name becomes part of host names" in refusal.value.message


def test_defaults_are_there_to_read(world: World) -> None:
    spec = world.create("customizationjobs", samples.job(automodel={}))["spec"]
    assert spec["automodel"]["training"]["finetuningType"] == "lora"
    assert spec["automodel"]["batch"] == {"globalBatchSize": 8, "microBatchSize": 1, "sequencePacking": False}
    assert spec["failurePolicy"] == {"maxAttempts": 3, "hungAfterSeconds": 1800}
    assert spec["suspend"] is False
    assert spec["objectStorage"]["region"] == "us-east-1"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": {"s3": {"uri": "s3://bucket/other"}}}, "uri"),
        ({"model": {"s3": None, "huggingFace": {"repo": "a/b"}}}, "huggingFace"),
        ({"dataset": {"promptTemplate": "{a} {b}"}}, "promptTemplate"),
        ({"automodel": {"schedule": {"epochs": 3}}}, "epochs"),
        ({"automodel": {"training": {"lora": {"rank": 8}}}}, "rank"),
        ({"automodel": {"training": {"lora": {"targetModules": ["q_proj"]}}}}, "targetModules"),
        ({"automodel": {"parallelism": {"numNodes": 4}}}, "numNodes"),
        ({"output": {"s3": {"uri": "s3://bucket/elsewhere"}}}, "uri"),
        ({"output": {"name": "other"}}, "name"),
        ({"compute": {"device": "gpu"}}, "device"),
        ({"objectStorage": {"endpointUrl": "http://other:1"}}, "endpointUrl"),
        ({"checkpoints": {"everySteps": 5}}, "everySteps"),
        ({"integrations": {"mlflow": {"tags": {"team": "sales"}}}}, "tags"),
        ({"integrations": None}, "integrations"),
    ],
)
def test_what_a_job_is_made_of_cannot_change(world: World, change: dict[str, Any], field: str) -> None:
    tracked = {"mlflow": {"trackingUri": "http://mlflow:5000", "tags": {"team": "support"}}}
    world.create("customizationjobs", samples.job(automodel={"training": {"lora": {"rank": 16}}}, integrations=tracked))
    with pytest.raises(ApiRefusedError) as refusal:
        world.patch("customizationjobs", "tickets", {"spec": change})
    assert f"{field} is part of what the object is made of and cannot change" in refusal.value.message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schedule": {"epochs": 3}}, "epochs"),
        ({"model": {"loadIn4bit": False}}, "loadIn4bit"),
        ({"training": {"lora": {"targetModules": ["q_proj"]}}}, "targetModules"),
        ({"output": {"saveMethod": "merged_16bit"}}, "saveMethod"),
    ],
)
def test_what_unsloth_is_to_do_cannot_change(world: World, change: dict[str, Any], field: str) -> None:
    world.create("customizationjobs", samples.job(**_unsloth(training={"lora": {}})))
    with pytest.raises(ApiRefusedError) as refusal:
        world.patch("customizationjobs", "tickets", {"spec": {"unsloth": change}})
    assert f"{field} is part of what the object is made of and cannot change" in refusal.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"failurePolicy": {"maxAttempts": 5}},
        {"compute": {"nodeSelector": {"disk": "fast"}, "image": "registry.test/other:2"}},
        {"compute": {"resources": {"limits": {"memory": "8Gi"}}}},
        {"objectStorage": {"credentialsSecretRef": {"name": "rotated"}}},
    ],
)
def test_how_a_job_is_run_may_change(world: World, change: dict[str, Any]) -> None:
    world.create("customizationjobs", samples.job())
    world.patch("customizationjobs", "tickets", {"spec": change})


def test_another_writer_that_drops_empty_values_does_not_lock_the_job(world: World) -> None:
    lora = {"rank": 16, "targetModules": [], "excludeModules": None}
    lora = {key: value for key, value in lora.items() if value is not None}
    world.create("customizationjobs", samples.job(automodel={"training": {"lora": lora}}))
    world.patch(
        "customizationjobs", "tickets", {"spec": {"automodel": {"training": {"lora": {"targetModules": None}}}}}
    )
    world.patch("customizationjobs", "tickets", {"spec": {"suspend": True, "checkpoints": None}})


def test_a_token_may_be_rotated_to_another_secret(world: World) -> None:
    world.create("customizationjobs", samples.job(model={"huggingFace": HUB}))
    change = {"model": {"huggingFace": {"tokenSecretRef": {"name": "new"}}}}
    world.patch("customizationjobs", "tickets", {"spec": change})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_accepted_as_it_stands(world: World, path: Path) -> None:
    for item in yaml.safe_load_all(path.read_text()):
        if item is None:
            continue
        item["metadata"].pop("namespace", None)
        plural = {"CustomizationJob": "customizationjobs", "ModelDeployment": "modeldeployments"}[item["kind"]]
        world.create(plural, item)


def test_every_field_is_explained(world: World) -> None:
    for kind in ("customizationjobs", "modeldeployments"):
        text = world.plane.kubectl("explain", kind, "--recursive=false")
        assert "<no description>" not in text
        crd = world.plane.call("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.customizer.dev")
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert list(_undescribed(schema["properties"]["spec"], "spec")) == []
        assert list(_undescribed(schema["properties"]["status"], "status")) == []


def _undescribed(schema: dict[str, Any], path: str) -> Any:
    if "description" not in schema:
        yield path
    for name, child in schema.get("properties", {}).items():
        yield from _undescribed(child, f"{path}.{name}")
    if "properties" in schema.get("items", {}):
        yield from _undescribed(schema["items"], f"{path}[]")
