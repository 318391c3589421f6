"""The plan of a training: what preflight's facts add to what the spec says."""

from typing import Any

import pytest

from customizer_contract.packing import PackedTraining
from customizer_contract.result import DatasetFacts, ModelFacts, Result
from customizer_operator.api.customization_job import CustomizationJobSpec
from customizer_operator.plan.batching import plan_training, write_size
from tests.support import samples
from tests.unit.trainer.test_memory import LLAMA_8B

FOUND = Result.model_validate_json(samples.passed()).dataset
MODEL = ModelFacts(architecture="LlamaForCausalLM", dtype="bfloat16", shape=LLAMA_8B, size_bytes=15 * 2**30)


def find_plan(dataset: DatasetFacts | None, model: ModelFacts | None = MODEL, **automodel: Any) -> dict[str, Any]:
    """Returns the plan of two pods as status has it."""
    spec = samples.job(automodel={"parallelism": {"numNodes": 2}, **automodel}, compute={"device": "gpu"})["spec"]
    plan = plan_training(CustomizationJobSpec.model_validate(spec), dataset=dataset, model=model)
    assert plan is not None
    return dict(plan.model_dump(by_alias=True, exclude_none=True))


def test_what_goes_over_the_network_is_told_once_preflight_has_looked() -> None:
    assert FOUND is not None
    plan = find_plan(FOUND.model_copy(update={"size_bytes": 2**20}))
    assert plan["transfers"] == {
        "model": "15.0Gi",
        "dataset": "1.0Mi",
        "checkpoint": "240.0Mi",
        "artifact": "80.0Mi",
        # Twice model and data, a checkpoint at the end of the one epoch, and the artifact.
        "total": "30.3Gi",
    }
    assert "transfers" not in find_plan(None)
    assert "packSize" not in plan


def test_a_mounted_model_costs_nothing_and_an_unmeasured_one_is_estimated() -> None:
    assert find_plan(FOUND, MODEL.model_copy(update={"size_bytes": 0}))["transfers"]["model"] == "0"
    assert find_plan(FOUND, MODEL.model_copy(update={"size_bytes": None}))["transfers"]["model"] == "15.0Gi"


def test_packs_make_the_steps() -> None:
    assert FOUND is not None
    packed = PackedTraining(size=2048, packs=20, packs_per_step=4, packs_per_micro_batch=1)
    plan = find_plan(FOUND.model_copy(update={"packed": packed}))
    assert (plan["packSize"], plan["tokensPerStep"], plan["stepsPerEpoch"]) == (2048, 8192, 5)
    assert plan["gradientAccumulationSteps"] == 2
    several = find_plan(FOUND.model_copy(update={"packed": packed}), batch={"microBatchSize": 4})
    assert several["estimatedMemoryPerGpu"] == plan["estimatedMemoryPerGpu"], "one pack at once, whatever was asked"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (1023, "1023"), (1024, "1.0Ki"), (1536 * 2**20, "1.5Gi"), (2**70, "1048576.0Pi")],
)
def test_a_size_is_written_as_kubernetes_does(number: int, text: str) -> None:
    assert write_size(number) == text
