"""Unsloth's image does in a pod what its tests do without one."""

import json
from collections.abc import Callable

from tests.e2e.conftest import BUCKET, NAMESPACE, Job, build_job
from tests.support import kubectl, storage


def test_an_adapter_beside_4_bit_weights_is_trained_and_published(start: Callable[[Job], str]) -> None:
    job = build_job("unsloth")
    del job["spec"]["automodel"]
    job["spec"]["unsloth"] = {
        "model": {"maxSeqLength": 256},
        "training": {"lora": {"rank": 8}},
        "schedule": {"maxSteps": 6, "evalSteps": 3},
        "batch": {"perDeviceTrainBatchSize": 4},
        "optimizer": {"learningRate": 0.01},
    }
    name = start(job)
    done = kubectl.wait_until(
        "customizationjob", name, NAMESPACE, lambda job: kubectl.is_true(job, "Complete"), timeout=300
    )
    status = done["status"]
    assert kubectl.is_true(done, "Published")
    assert status["progress"]["step"] == status["plan"]["totalSteps"] == 6
    # What a CPU cannot do is said.
    assert "optim adamw_8bit needs a GPU: adamw_torch_fused is used." in status["warnings"]
    body = storage.client().get_object(Bucket=BUCKET, Key=f"out/{name}/manifest.json")["Body"].read()
    manifest = json.loads(body)
    assert (manifest["type"], manifest["adapter"]["rank"]) == ("adapter", 8)
    assert manifest["packages"]["unsloth"]
