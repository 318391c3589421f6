from typing import Any

import pytest

from customizer_contract.automodel import Automodel, Parallelism
from customizer_contract.fitting import suggest_fit
from customizer_contract.memory import MemoryEstimate, estimate_memory
from customizer_contract.shape import Dtype, ModelShape
from customizer_contract.unsloth import Unsloth

SMOLLM2 = ModelShape(
    layers=30,
    hidden_size=576,
    intermediate_size=1536,
    attention_heads=9,
    key_value_heads=3,
    head_size=64,
    vocabulary_size=49152,
    tied_embeddings=True,
)
LLAMA_8B = ModelShape(
    layers=32,
    hidden_size=4096,
    intermediate_size=14336,
    attention_heads=32,
    key_value_heads=8,
    head_size=128,
    vocabulary_size=128256,
)
LLAMA_70B = LLAMA_8B.model_copy(
    update={"layers": 80, "hidden_size": 8192, "intermediate_size": 28672, "attention_heads": 64}
)
MIXTRAL = LLAMA_8B.model_copy(
    update={"vocabulary_size": 32000, "experts": 8, "experts_per_token": 2, "expert_size": 14336}
)

PARAMETERS = {
    "SmolLM2-135M": (SMOLLM2, 134_515_008),
    "Llama-3.1-8B": (LLAMA_8B, 8_030_261_248),
    "Llama-3.1-70B": (LLAMA_70B, 70_553_706_496),
    "Mixtral-8x7B": (MIXTRAL, 46_702_792_704),
}


@pytest.mark.parametrize(("shape", "count"), PARAMETERS.values(), ids=PARAMETERS.keys())
def test_a_models_weights_are_counted(shape: ModelShape, count: int) -> None:
    assert shape.parameters == count


FULL: dict[str, Any] = {"finetuningType": "all_weights"}
GB = 10**9

MEASURED: dict[str, tuple[dict[str, Any], int, int, float]] = {
    "an adapter in bf16, one sample of 256 tokens": ({"precision": "bf16"}, 1, 256, 1.26),
    "an adapter in bf16, four samples": ({"precision": "bf16"}, 4, 256, 2.43),
    "an adapter in fp32, one sample": ({"precision": "fp32"}, 1, 256, 1.80),
    "an adapter in fp32, four samples": ({"precision": "fp32"}, 4, 256, 3.75),
    "all weights in fp32, one sample": ({**FULL, "precision": "fp32"}, 1, 256, 3.54),
}


@pytest.mark.parametrize(("training", "batch", "length", "gigabytes"), MEASURED.values(), ids=MEASURED.keys())
def test_an_estimate_is_near_what_was_measured_with_smollm2(
    training: dict[str, Any], batch: int, length: int, gigabytes: float
) -> None:
    settings = Automodel.model_validate(
        {"training": {"maxSeqLength": length, **training}, "batch": {"microBatchSize": batch}}
    )
    estimate = estimate_memory(SMOLLM2, "bfloat16", settings, device="cpu")
    assert estimate.total_bytes == pytest.approx(gigabytes * GB, rel=0.2)


def estimate(shape: ModelShape = LLAMA_8B, dtype: Dtype = "bfloat16", **blocks: Any) -> MemoryEstimate:
    return estimate_memory(shape, dtype, Automodel.model_validate(blocks))


EIGHT: dict[str, Any] = {"numGpusPerNode": 8}


def test_all_weights_of_an_8b_model_cost_eight_bytes_each() -> None:
    whole = estimate(training=FULL)
    count = LLAMA_8B.parameters
    assert whole.weights_bytes == pytest.approx(2 * count, rel=0.01)
    assert whole.gradients_bytes == 2 * count
    assert whole.optimizer_bytes == 4 * count


def test_an_adapter_has_few_gradients() -> None:
    adapter = estimate(training={"lora": {"rank": 16}})
    assert adapter.gradients_bytes == 2 * 41_943_040
    assert adapter.weights_bytes > 2 * LLAMA_8B.parameters


def test_a_teacher_costs_its_weights_unless_it_waits_elsewhere() -> None:
    how = {"trainingType": "distillation", "finetuningType": "all_weights", "maxSeqLength": 512}
    distillation = Automodel.model_validate({"training": how})
    alone = estimate_memory(LLAMA_8B, "bfloat16", distillation)
    taught = estimate_memory(LLAMA_8B, "bfloat16", distillation, teacher=LLAMA_8B)
    weights = taught.weights_bytes - alone.weights_bytes
    assert weights == pytest.approx(2 * LLAMA_8B.parameters, rel=0.01)
    offloaded = Automodel.model_validate({"training": {**how, "offloadTeacher": True}})
    waiting = estimate_memory(LLAMA_8B, "bfloat16", offloaded, teacher=LLAMA_8B)
    # It computes before there are activations.
    assert taught.weights_bytes - waiting.weights_bytes == pytest.approx(alone.activations_bytes, rel=0.01)
    shared = distillation.model_copy(update={"parallelism": Parallelism(num_gpus_per_node=8)})
    eighth = estimate_memory(LLAMA_8B, "bfloat16", shared, teacher=LLAMA_8B)
    assert eighth.weights_bytes < taught.weights_bytes / 3


def test_memory_follows_the_micro_batch_and_not_the_global_one() -> None:
    small = estimate(batch={"globalBatchSize": 8, "microBatchSize": 1})
    assert estimate(batch={"globalBatchSize": 512, "microBatchSize": 1}) == small
    assert estimate(batch={"globalBatchSize": 8, "microBatchSize": 8}).activations_bytes == 8 * small.activations_bytes


SMALLER: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "shards": ({"training": FULL}, {"training": FULL, "parallelism": EIGHT}, "optimizer_bytes"),
    "tensor parallelism": (
        {"parallelism": EIGHT},
        {"parallelism": {**EIGHT, "tensorParallelSize": 8}},
        "activations_bytes",
    ),
    "sequence parallelism": (
        {"parallelism": {**EIGHT, "tensorParallelSize": 8}},
        {"parallelism": {**EIGHT, "tensorParallelSize": 8, "sequenceParallel": True}},
        "activations_bytes",
    ),
    "context parallelism": (
        {"parallelism": EIGHT},
        {"parallelism": {**EIGHT, "contextParallelSize": 8}},
        "activations_bytes",
    ),
    "pipeline stages": (
        {"parallelism": {"numGpusPerNode": 2}, "batch": {"microBatchSize": 2}},
        {"parallelism": {"numGpusPerNode": 2, "pipelineParallelSize": 2}, "batch": {"microBatchSize": 2}},
        "activations_bytes",
    ),
    "shorter samples": ({}, {"training": {"maxSeqLength": 512}}, "activations_bytes"),
    "smaller batches": ({"batch": {"microBatchSize": 4}}, {"batch": {"microBatchSize": 1}}, "activations_bytes"),
    "adapting fewer layers": ({}, {"training": {"lora": {"targetModules": ["*.q_proj"]}}}, "optimizer_bytes"),
    "the kernel that keeps no pairs": ({"training": {"attnImplementation": "eager"}}, {}, "activations_bytes"),
}


@pytest.mark.parametrize(("more", "less", "part"), SMALLER.values(), ids=SMALLER.keys())
def test_memory_is_saved_by(more: dict[str, Any], less: dict[str, Any], part: str) -> None:
    assert getattr(estimate(**less), part) < getattr(estimate(**more), part)


def test_replicas_on_cpus_do_not_share() -> None:
    one, two = (
        estimate_memory(
            SMOLLM2, "float32", Automodel.model_validate({"parallelism": {"numNodes": nodes}}), device="cpu"
        )
        for nodes in (1, 2)
    )
    assert one == two


def test_experts_are_shared_out_to_gather_less() -> None:
    spread = {"numGpusPerNode": 8}
    assert (
        estimate(MIXTRAL, parallelism={**spread, "expertParallelSize": 8}).weights_bytes
        < estimate(MIXTRAL, parallelism=spread).weights_bytes
    )


def test_the_longest_sample_counts_where_it_is_known() -> None:
    settings = Automodel.model_validate({"training": {"maxSeqLength": 4096}})
    short = Automodel.model_validate({"training": {"maxSeqLength": 512}})
    assert estimate_memory(LLAMA_8B, "bfloat16", settings, longest_sample=512) == estimate_memory(
        LLAMA_8B, "bfloat16", short
    )


def test_packs_count_as_many_as_a_micro_batch_holds() -> None:
    settings, one = Automodel.model_validate({"batch": {"microBatchSize": 8}}), Automodel.model_validate({})
    packed = estimate_memory(LLAMA_8B, "bfloat16", settings, packs_per_micro_batch=1)
    assert packed == estimate_memory(LLAMA_8B, "bfloat16", one)
    limit = packed.total_bytes
    suggested = suggest_fit(LLAMA_8B, "bfloat16", settings, limit, packs_per_micro_batch=1)
    assert (suggested or "").startswith("batch.microBatchSize: 4")
    assert (suggest_fit(LLAMA_8B, "bfloat16", settings, limit) or "").startswith("batch.microBatchSize: 1")


def unsloth(**blocks: Any) -> MemoryEstimate:
    return estimate_memory(LLAMA_8B, "bfloat16", Unsloth.model_validate(blocks))


def test_four_bits_take_a_third_of_sixteen_and_eight_half() -> None:
    sixteen = unsloth(model={"loadIn4bit": False})
    eight = unsloth(model={"loadIn4bit": False, "loadIn8bit": True})
    four = unsloth()
    assert four.weights_bytes < 0.4 * sixteen.weights_bytes < eight.weights_bytes < 0.65 * sixteen.weights_bytes


def test_computing_twice_saves_activations() -> None:
    offloaded, layers, none = (
        unsloth(training={"useGradientCheckpointing": how}) for how in ("unsloth", "true", "false")
    )
    assert offloaded.activations_bytes < layers.activations_bytes < none.activations_bytes / 4


GIB = 2**30
FITS: dict[str, tuple[Automodel | Unsloth, int, str | None]] = {
    "a smaller micro batch": (
        Automodel.model_validate({"batch": {"microBatchSize": 8}, "training": {"maxSeqLength": 1024}}),
        40,
        "batch.microBatchSize: 2 (",
    ),
    "sharing layers within the node": (
        Automodel.model_validate({"parallelism": EIGHT, "training": {**FULL, "maxSeqLength": 4096}}),
        28,
        "parallelism.tensorParallelSize: 4 (",
    ),
    "more nodes": (
        Automodel.model_validate({"training": {**FULL, "maxSeqLength": 256}, "batch": {"globalBatchSize": 32}}),
        40,
        "parallelism.numNodes: 4 (",
    ),
    "an adapter in place of all weights": (
        Automodel.model_validate({"training": {**FULL, "maxSeqLength": 256}, "batch": {"globalBatchSize": 3}}),
        24,
        "training.finetuningType: lora (",
    ),
    "four bits": (
        Unsloth.model_validate({"model": {"loadIn4bit": False, "maxSeqLength": 512}}),
        12,
        "model.loadIn4bit: true (",
    ),
    "several at once": (
        Unsloth.model_validate(
            {"batch": {"perDeviceTrainBatchSize": 2}, "training": {"useGradientCheckpointing": "false"}}
        ),
        12,
        "batch.perDeviceTrainBatchSize: 1, training.useGradientCheckpointing: unsloth (",
    ),
    "nothing": (Unsloth(), 4, None),
}


@pytest.mark.parametrize(("settings", "gibibytes", "expected"), FITS.values(), ids=FITS.keys())
def test_what_does_not_fit_would_fit_with(settings: Automodel | Unsloth, gibibytes: int, expected: str | None) -> None:
    assert estimate_memory(LLAMA_8B, "bfloat16", settings).total_bytes > gibibytes * GIB
    suggested = suggest_fit(LLAMA_8B, "bfloat16", settings, gibibytes * GIB)
    assert suggested is None if expected is None else suggested is not None and suggested.startswith(expected)
