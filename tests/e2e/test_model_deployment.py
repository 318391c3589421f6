"""What a job made, served by the real engine."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.demo import ask
from tests.e2e.conftest import NAMESPACE, Job, build_job
from tests.support import kubectl

Start = Callable[[Job], str]
KIND = "modeldeployment"
PROMPT = "Answer with one word.\n\nMessage: I forgot my password.\nTeam:"


def build_deployment(name: str, job: str, runtime: dict[str, Any]) -> Job:
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"model": {"customizationJobRef": {"name": job}}, "runtime": runtime},
    }


@pytest.mark.parametrize(
    ("name", "finetuning_type", "runtime", "kinds"),
    [
        ("adapter", "lora", {"type": "VLLM"}, ["adapter", "base"]),
        ("weights", "all_weights", {"type": "MultiLLM"}, ["model"]),
    ],
)
def test_a_deployment_waits_for_its_job_and_then_answers(
    start: Start, name: str, finetuning_type: str, runtime: dict[str, Any], kinds: list[str]
) -> None:
    deployment = start(build_deployment(name, f"for-{name}", runtime))
    waiting = kubectl.wait_until(KIND, name, NAMESPACE, lambda md: md.get("status", {}).get("message"), timeout=60)
    assert f"for-{name}" in waiting["status"]["message"]
    start(build_job(f"for-{name}", model="smollm2", finetuning_type=finetuning_type, steps=3))
    ready = kubectl.wait_until(KIND, deployment, NAMESPACE, lambda md: kubectl.is_true(md, "Ready"), timeout=600)
    status = ready["status"]
    assert sorted(model["kind"] for model in status["models"]) == kinds
    for model in status["models"]:
        assert ask.complete(status["url"], model["name"], PROMPT)
