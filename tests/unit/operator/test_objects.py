"""The objects that the operator makes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from customizer_contract import automodel
from customizer_contract.job import Job
from customizer_operator.api.automodel import Automodel
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.objects.images import Images
from customizer_operator.objects.job_file import build_config_map, build_job_file
from customizer_operator.objects.preflight import build_preflight
from customizer_operator.objects.training import build_training
from tests.support import samples
from tests.unit.trainer.backends.fields import leaves

IMAGES = Images(io="io:1", automodel="automodel:1", unsloth="unsloth:1")


def new_job(**spec: Any) -> CustomizationJob:
    item = samples.job(**spec)
    item["metadata"] |= {"namespace": "team", "uid": "uid-1"}
    return CustomizationJob.model_validate({"metadata": item["metadata"], "spec": item["spec"]})


def pod_of(item: dict[str, Any]) -> dict[str, Any]:
    spec = item["spec"]
    template = spec["pytorchReplicaSpecs"]["Worker"]["template"] if "pytorchReplicaSpecs" in spec else spec["template"]
    return dict(template["spec"])


def containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


BOTH = pytest.mark.parametrize(
    "build",
    [lambda job: build_preflight(job, IMAGES), lambda job: build_training(job, IMAGES, 1)],
    ids=["preflight", "training"],
)


@BOTH
def test_every_pod_is_restricted_and_cannot_call_the_api(build: Any) -> None:
    pod = pod_of(build(new_job()))
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@BOTH
def test_secrets_are_given_by_reference_only(build: Any) -> None:
    hub = {"repo": "org/model", "tokenSecretRef": {"name": "hub"}}
    item = build(new_job(model={"huggingFace": hub}))
    for container in containers(pod_of(item)):
        variables = environment(container)
        assert variables["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "s3", "key": "AWS_SECRET_ACCESS_KEY"}}
        assert variables["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}


@BOTH
def test_a_workload_identity_takes_the_place_of_a_secret(build: Any) -> None:
    pod = pod_of(build(new_job(objectStorage={"serviceAccountName": "robot"})))
    assert pod["serviceAccountName"] == "robot"
    assert pod["automountServiceAccountToken"] is False
    assert not any("AWS_ACCESS_KEY_ID" in environment(container) for container in containers(pod))


@BOTH
def test_claims_are_mounted_read_only_where_the_job_file_says(build: Any) -> None:
    claim = {"persistentVolumeClaim": {"claimName": "data", "path": "sets/train.jsonl"}}
    job = new_job(dataset={"training": claim})
    pod = pod_of(build(job))
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "training")
    assert volume["persistentVolumeClaim"] == {"claimName": "data", "readOnly": True}
    for container in containers(pod):
        mount = next(mount for mount in container["volumeMounts"] if mount["name"] == "training")
        assert mount == {"name": "training", "mountPath": "/volumes/training", "readOnly": True}
    source = build_job_file(job).dataset.training
    assert str(getattr(source, "path", "")) == "/volumes/training/sets/train.jsonl"


@BOTH
def test_a_teacher_comes_like_a_model(build: Any) -> None:
    training = {"trainingType": "distillation", "teacherModel": {"trustRemoteCode": True}}
    claim = {"persistentVolumeClaim": {"claimName": "teachers", "path": "large"}}
    mounted = new_job(automodel={"training": training | {"teacherModel": training["teacherModel"] | claim}})
    teacher = build_job_file(mounted).teacher
    assert teacher is not None
    assert teacher.trust_remote_code
    assert str(getattr(teacher.source, "path", "")) == "/volumes/teacher/large"
    pod = pod_of(build(mounted))
    assert any(volume["name"] == "teacher" for volume in pod["volumes"])
    hub = {"repo": "org/teacher", "tokenSecretRef": {"name": "hub"}}
    item = build(new_job(automodel={"training": training | {"teacherModel": {"huggingFace": hub}}}))
    first = next(iter(containers(pod_of(item))))
    assert environment(first)["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}


def test_the_teacher_is_all_that_a_job_can_ask_of_automodel_beside_the_contract() -> None:
    added = set(leaves(Automodel)) - set(leaves(automodel.Automodel))
    assert {path.rpartition("teacherModel.")[0] for path in added} == {"training."}


def test_the_job_file_is_what_the_trainer_reads_and_holds_no_secret() -> None:
    data = build_config_map(new_job())["data"]["job.json"]
    file = Job.model_validate_json(data)
    assert (file.name, file.namespace, file.uid, file.artifact_name) == ("tickets", "team", "uid-1", "tickets")
    assert file.automodel.batch.global_batch_size == 8
    assert "credentials" not in data


def test_the_spec_hash_is_that_of_what_is_trained_not_of_who_asks_or_how_it_is_run() -> None:
    first = build_job_file(new_job())
    assert build_job_file(new_job(suspend=True, failurePolicy={"maxAttempts": 9})).spec_hash == first.spec_hash
    assert build_job_file(new_job(output={"s3": {"uri": "s3://bucket/x"}})).spec_hash != first.spec_hash
    assert build_job_file(new_job()).to_json() == first.to_json()


def test_ranks_meet_at_the_first_worker_of_their_own_attempt() -> None:
    item = build_training(new_job(), IMAGES, 3)
    assert item["metadata"]["name"] == "tickets-a3"
    variables = environment(pod_of(item)["containers"][0])
    assert variables["PET_MASTER_ADDR"] == "tickets-a3-worker-0"
    assert variables["PET_NODE_RANK"] == {
        "fieldRef": {"fieldPath": "metadata.labels['training.kubeflow.org/replica-index']"}
    }
    assert "PET_NNODES" not in variables, "training-operator sets it"


def test_an_attempt_is_a_gang_of_workers_that_never_restarts() -> None:
    spec = build_training(new_job(), IMAGES, 1)["spec"]
    worker = spec["pytorchReplicaSpecs"]["Worker"]
    assert list(spec["pytorchReplicaSpecs"]) == ["Worker"]
    assert (worker["replicas"], worker["restartPolicy"], spec["nprocPerNode"]) == (2, "Never", "1")
    assert spec["runPolicy"] == {"backoffLimit": 0, "cleanPodPolicy": "Running"}
    assert "podAntiAffinity" in pod_of(build_training(new_job(), IMAGES, 1))["affinity"]


def test_one_pod_needs_nobody_to_stay_away_from() -> None:
    assert "affinity" not in pod_of(build_training(new_job(automodel={}), IMAGES, 1))


def test_gpus_are_held_by_the_training_container_alone() -> None:
    job = new_job(
        automodel={"parallelism": {"numGpusPerNode": 4}},
        compute={"device": "gpu", "gpuResource": "amd.com/gpu", "resources": {"limits": {"memory": "64Gi"}}},
    )
    pod = pod_of(build_training(job, IMAGES, 1))
    assert pod["containers"][0]["resources"] == {"limits": {"memory": "64Gi", "amd.com/gpu": "4"}}
    assert pod["initContainers"][0]["resources"] == {"limits": {"memory": "64Gi"}}
    shared = next(volume for volume in pod["volumes"] if volume["name"] == "shared-memory")
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}


def test_unsloth_is_one_worker_with_one_gpu_and_its_own_image() -> None:
    item = build_training(new_job(automodel=None, unsloth={}, compute={"device": "gpu"}), IMAGES, 1)
    worker, container = item["spec"]["pytorchReplicaSpecs"]["Worker"], pod_of(item)["containers"][0]
    assert (worker["replicas"], item["spec"]["nprocPerNode"]) == (1, "1")
    assert container["image"] == "unsloth:1"
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1"}}


def test_the_job_file_of_unsloth_names_no_other_backend() -> None:
    file = build_job_file(new_job(automodel=None, unsloth={"model": {"loadIn4bit": False}}))
    assert file.automodel is None
    assert file.unsloth is not None
    assert file.unsloth.model.load_in_4bit is False
    assert '"loadIn4bit":false' in file.to_json()


def test_a_cpu_job_holds_no_gpu() -> None:
    assert "nvidia.com/gpu" not in json.dumps(build_training(new_job(), IMAGES, 1))


def test_the_spec_says_where_and_from_which_image_the_pods_run() -> None:
    compute = {
        "device": "cpu", "image": "mine:2", "imagePullPolicy": "Always", "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"pool": "train"}, "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "priorityClassName": "high", "workspace": {"size": "100Gi", "storageClassName": "fast"}, "sharedMemory": "2Gi",
    }  # fmt: skip
    pod = pod_of(build_training(new_job(compute=compute), IMAGES, 1))
    assert [container["image"] for container in containers(pod)] == ["io:1", "mine:2"]
    assert {container["imagePullPolicy"] for container in containers(pod)} == {"Always"}
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["nodeSelector"] == {"pool": "train"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["priorityClassName"] == "high"
    claim = next(volume for volume in pod["volumes"] if volume["name"] == "workspace")["ephemeral"]
    assert claim["volumeClaimTemplate"]["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "100Gi"}},
        "storageClassName": "fast",
    }


def test_preflight_tries_again_only_when_the_catalogue_says_that_it_may_help() -> None:
    rules = build_preflight(new_job(), IMAGES)["spec"]["podFailurePolicy"]["rules"]
    assert rules[0]["action"] == "FailJob"
    assert rules[0]["onExitCodes"]["values"] == [64, 65]
    assert rules[1]["action"] == "Ignore"


def test_the_memory_of_a_gpu_is_told_in_bytes_and_changes_nothing_of_what_is_trained() -> None:
    told, untold = (build_job_file(new_job(compute={"device": "gpu", **more})) for more in ({"gpuMemory": "80Gi"}, {}))
    assert (told.gpu_memory_bytes, untold.gpu_memory_bytes) == (80 * 2**30, None)
    assert told.spec_hash == untold.spec_hash


def test_trackers_are_named_in_the_job_file_and_their_key_only_where_it_is_trained() -> None:
    integrations = {
        "wandb": {"project": "tickets", "apiKeySecretRef": {"name": "wandb"}},
        "mlflow": {"trackingUri": "http://mlflow:5000", "tags": {"team": "support"}},
    }
    job = new_job(integrations=integrations)
    file = build_job_file(job)
    assert file.integrations is not None
    assert file.integrations.wandb is not None
    assert file.integrations.wandb.project == "tickets"
    assert file.integrations.mlflow is not None
    assert file.integrations.mlflow.tags == {"team": "support"}
    assert "apiKey" not in file.to_json()
    assert file.spec_hash == build_job_file(new_job()).spec_hash, "it trains the same"
    pod = build_training(job, IMAGES, 1)["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    key = {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "WANDB_API_KEY"}}}
    assert key in pod["containers"][0]["env"]
    assert key not in pod["initContainers"][0]["env"]
