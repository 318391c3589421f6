from typing import Any

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.packing import PackedTraining
from customizer_contract.result import DatasetFacts, Lengths, SplitFacts
from customizer_contract.rope import RopeScaling
from customizer_trainer.backends.rope import scale_config
from customizer_trainer.model import ModelConfig, is_known_to_transformers, parse_config
from customizer_trainer.model_checks import check_architecture, check_memory, check_model, check_vocabulary
from tests.support.samples import LLAMA
from tests.unit.trainer.conftest import build_job

TIED = {**LLAMA, "tie_word_embeddings": True}
MIXTURE = {**LLAMA, "num_local_experts": 8, "num_experts_per_tok": 2}


def spread(gpus: int, **sizes: int) -> dict[str, Any]:
    return {"batch": {"microBatchSize": 8}, "parallelism": {"numGpusPerNode": gpus, **sizes}}


FITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "heads shared by tensor parallelism": (LLAMA, spread(8, tensorParallelSize=8)),
    "layers shared by stages": (LLAMA, spread(4, pipelineParallelSize=4)),
    "experts shared": (MIXTURE, spread(8, expertParallelSize=4)),
    "one group of experts of a dense model": (LLAMA, spread(8, expertParallelSize=1)),
    "samples as long as the context": (LLAMA, {"training": {"maxSeqLength": 2048}}),
    "measures in other words, which nothing can be said of": (
        {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_head": 12},
        {**spread(5, tensorParallelSize=5), "training": {"finetuningType": "all_weights"}},
    ),
}


@pytest.mark.parametrize(("config", "automodel"), FITS.values(), ids=FITS.keys())
def test_a_model_can_be_trained_with(config: dict[str, Any], automodel: dict[str, Any]) -> None:
    check_model(build_job(automodel=automodel), parse_config(config))


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], Reason, str]] = {
    "fewer heads of keys than shares": (
        LLAMA,
        spread(16, tensorParallelSize=16),
        Reason.PARALLELISM_INVALID,
        "8 key/value heads, which 16 GPUs cannot share evenly: write parallelism.tensorParallelSize: 8.",
    ),
    "heads that cannot be shared evenly": (
        {**LLAMA, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64},
        spread(6, tensorParallelSize=2),
        Reason.PARALLELISM_INVALID,
        "3 key/value heads, which 2 GPUs cannot share evenly: write parallelism.tensorParallelSize: 3.",
    ),
    "layers that cannot be shared evenly": (
        {**LLAMA, "num_hidden_layers": 30},
        spread(8, pipelineParallelSize=4),
        Reason.PARALLELISM_INVALID,
        "30 layers, which 4 GPUs cannot share evenly: write parallelism.pipelineParallelSize: 2.",
    ),
    "stages of a model whose head is its embedding": (
        TIED,
        spread(2, pipelineParallelSize=2),
        Reason.PARALLELISM_INVALID,
        "write parallelism.pipelineParallelSize: 1.",
    ),
    "experts of a dense model": (
        LLAMA,
        spread(2, expertParallelSize=2),
        Reason.PARALLELISM_INVALID,
        "no experts, which 2 GPUs cannot share evenly: write parallelism.expertParallelSize: 1.",
    ),
    "experts that cannot be shared evenly": (
        MIXTURE,
        spread(16, expertParallelSize=16),
        Reason.PARALLELISM_INVALID,
        "8 experts, which 16 GPUs cannot share evenly: write parallelism.expertParallelSize: 8.",
    ),
    "tensor parallelism of experts": (
        MIXTURE,
        spread(2, tensorParallelSize=2),
        Reason.PARALLELISM_INVALID,
        "write parallelism.tensorParallelSize: 1.",
    ),
    "samples longer than the context": (
        LLAMA,
        {"training": {"maxSeqLength": 4096}},
        Reason.SEQUENCE_TOO_LONG,
        "maxSeqLength is 4096; its context is 2048 tokens",
    ),
    "an adapter to be merged into quantized weights": (
        {**LLAMA, "quantization_config": {"quant_method": "mxfp4"}},
        {"training": {"finetuningType": "lora_merged"}},
        Reason.MODEL_INVALID,
        "weights are quantized",
    ),
    "an adapter of the head to be merged, where the head is the embedding": (
        TIED,
        {"training": {"lora": {"merge": True, "targetModules": ["*_proj", "lm_*"]}}},
        Reason.MODEL_INVALID,
        "leave lm_head out of lora.targetModules",
    ),
    "layers that an adapter finds nothing in": (
        {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"},
        {},
        Reason.MODEL_INVALID,
        "train all_weights",
    ),
}


@pytest.mark.parametrize(("config", "automodel", "reason", "advice"), REFUSED.values(), ids=REFUSED.keys())
def test_a_model_cannot_be_trained_with(
    config: dict[str, Any], automodel: dict[str, Any], reason: Reason, advice: str
) -> None:
    with pytest.raises(CustomizerError) as raised:
        check_model(build_job(automodel=automodel), parse_config(config))
    assert raised.value.reason is reason
    assert advice in str(raised.value)


@pytest.mark.parametrize(
    ("scaling", "own"),
    [
        pytest.param({"ropeType": "linear", "factor": 2}, {}, id="linear"),
        pytest.param({"ropeType": "yarn", "factor": 4}, {}, id="yarn"),
        pytest.param({"ropeType": "yarn", "factor": 4, "originalMaxPositionEmbeddings": 1024}, {}, id="made for less"),
        pytest.param(
            {"ropeType": "yarn", "factor": 2},
            {"rope_scaling": {"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 2048}},
            id="scaled by itself already",
        ),
    ],
)
def test_samples_may_be_as_long_as_the_published_model_says(scaling: dict[str, Any], own: dict[str, Any]) -> None:
    base = {**LLAMA, **own}
    limit = parse_config(scale_config(base, RopeScaling.model_validate(scaling))).context_length
    assert limit is not None

    def check(length: int) -> None:
        model = {"maxSeqLength": length, "ropeScaling": scaling}
        check_model(build_job(automodel=None, unsloth={"model": model}), parse_config(base))

    check(limit)
    with pytest.raises(CustomizerError, match=f"maxSeqLength is {limit + 1}; its context is {limit} tokens"):
        check(limit + 1)


def test_an_adapter_cannot_be_merged_into_pickles() -> None:
    merged = build_job(automodel={"training": {"finetuningType": "lora_merged"}})
    check_model(merged, parse_config(LLAMA), ["model.safetensors"])
    check_model(build_job(), parse_config(LLAMA), ["pytorch_model.bin"])
    with pytest.raises(CustomizerError, match="weights are pickles"):
        check_model(merged, parse_config(LLAMA), ["pytorch_model.bin"])


def model(**changes: Any) -> dict[str, Any]:
    return {"source": {"kind": "s3", "uri": "s3://bucket/model"}, **changes}


CODE = ModelConfig("OwnForCausalLM", "own", None, None, brings_code=True)


def test_an_architecture_must_be_known_or_come_as_code_that_is_trusted() -> None:
    job, trusting = build_job(), build_job(model=model(trustRemoteCode=True))
    check_architecture(job.model, parse_config(LLAMA), is_known_to_transformers)
    check_architecture(trusting.model, CODE, is_known_to_transformers)
    for each, config, advice in (
        (job, CODE, "set model.trustRemoteCode"),
        (trusting, ModelConfig("OwnForCausalLM", "own", None, None), "brings no code of its own"),
    ):
        with pytest.raises(CustomizerError, match=advice) as raised:
            check_architecture(each.model, config, is_known_to_transformers)
        assert raised.value.reason is Reason.ARCHITECTURE_UNSUPPORTED


def test_a_tokenizer_of_another_model_is_refused() -> None:
    check_vocabulary(parse_config(LLAMA), 128256)
    with pytest.raises(CustomizerError, match="knows 151643 tokens, the model only 128256") as raised:
        check_vocabulary(parse_config(LLAMA), 151643)
    assert raised.value.reason is Reason.TOKENIZER_INVALID


def found(longest: int, packed: PackedTraining | None = None) -> DatasetFacts:
    lengths = Lengths(mean=longest, p50=longest, p95=longest, max=longest)
    facts = SplitFacts(samples=100, tokens=100 * longest, lengths=lengths)
    return DatasetFacts(format="text", training=facts, validation=facts, packed=packed, digest="d")


def test_of_packed_samples_a_micro_batch_is_as_many_packs_as_are_held_at_once() -> None:
    job = build_job(automodel={"batch": {"microBatchSize": 4}}, gpuMemoryBytes=80 * 2**30)

    def pack(held_at_once: int) -> PackedTraining:
        return PackedTraining(size=2048, packs=9, packs_per_step=4, packs_per_micro_batch=held_at_once)

    check_memory(job, parse_config(LLAMA), found(512, pack(1)))
    with pytest.raises(CustomizerError, match="would fit"):
        check_memory(job, parse_config(LLAMA), found(512, pack(4)))


def test_what_does_not_fit_into_the_gpu_is_refused_with_what_would() -> None:
    batch = {"batch": {"microBatchSize": 4}}
    check_memory(build_job(automodel=batch), parse_config(LLAMA), found(2048))
    check_memory(build_job(automodel=batch, gpuMemoryBytes=80 * 2**30), parse_config(LLAMA), found(512))
    check_memory(build_job(gpuMemoryBytes=1), parse_config({**LLAMA, "dtype": None}), found(512))
    with pytest.raises(CustomizerError, match=r"This would fit: batch.microBatchSize: 2 \(") as raised:
        check_memory(build_job(automodel=batch, gpuMemoryBytes=80 * 2**30), parse_config(LLAMA), found(2048))
    assert raised.value.reason is Reason.MEMORY_INSUFFICIENT
    assert "compute.gpuMemory is 80.0 GiB" in str(raised.value)
    with pytest.raises(CustomizerError, match="No change of batch"):
        check_memory(build_job(gpuMemoryBytes=2**30), parse_config(LLAMA), found(2048))
