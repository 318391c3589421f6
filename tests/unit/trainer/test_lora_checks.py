"""Whether the model has the layers that an adapter is asked for."""

from typing import Any

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_trainer.lora_checks import check_lora_layers
from customizer_trainer.model import parse_config
from customizer_trainer.model_checks import check_rope
from tests.support.samples import LLAMA
from tests.unit.trainer.conftest import build_job

TENSORS = [
    "model.embed_tokens.weight",
    "model.norm.weight",
    "lm_head.weight",
    *(
        f"model.layers.{layer}.{name}.weight"
        for layer in range(32)
        for name in ("self_attn.q_proj", "mlp.down_proj", "input_layernorm")
    ),
]
OTHERS = [f"gpt_neox.layers.{layer}.attention.query_key_value.weight" for layer in range(32)]
MIXTURE = {**LLAMA, "num_local_experts": 8, "num_experts_per_tok": 2}


def automodel(**lora: Any) -> Job:
    return build_job(automodel={"training": {"lora": lora}})


def unsloth(**lora: Any) -> Job:
    return build_job(automodel=None, unsloth={"training": {"lora": lora}})


TAKEN: dict[str, tuple[Job, dict[str, Any], list[str]]] = {
    "what is adapted by default": (automodel(), LLAMA, TENSORS),
    "what Unsloth adapts by default": (unsloth(), LLAMA, TENSORS),
    "one name of two": (automodel(targetModules=["q_proj", "W_pack"]), LLAMA, TENSORS),
    "a whole path": (automodel(targetModules=["*.layers.0.*.q_proj"]), LLAMA, TENSORS),
    "a wildcard over dots": (automodel(targetModules=[".*down.*"]), LLAMA, TENSORS),
    "layers that a class puts together": (automodel(targetModules=["*.qkv_proj"]), LLAMA, TENSORS),
    "all but some": (automodel(excludeModules=["q_proj", "*.layers.0.*"]), LLAMA, TENSORS),
    "quantized weights": (automodel(), LLAMA, ["model.norm.weight", "model.layers.0.self_attn.q_proj.qweight"]),
    "no index": (automodel(targetModules=["W_pack"]), LLAMA, []),
    "experts": (automodel(targetModules=["w1"]), MIXTURE, TENSORS),
    "all weights": (build_job(automodel={"training": {"finetuningType": "all_weights"}}), LLAMA, OTHERS),
    "the last layer": (unsloth(layersToTransform=[0, 31]), LLAMA, []),
    "ranges up to the last layer": (unsloth(layerReplication=[[0, 20], [10, 32]]), LLAMA, []),
}


@pytest.mark.parametrize(("job", "config", "tensors"), TAKEN.values(), ids=TAKEN.keys())
def test_an_adapter_that_the_model_can_take(job: Job, config: dict[str, Any], tensors: list[str]) -> None:
    check_lora_layers(job, parse_config(config), tensors)


REFUSED: dict[str, tuple[Job, list[str], str, str]] = {
    "names of another model": (
        automodel(targetModules=["W_pack"]),
        TENSORS,
        "targetModules",
        "called W_pack; it has down_proj, q_proj.",
    ),
    "the names that are usual": (automodel(), OTHERS, "targetModules", r"called \*_proj; it has query_key_value."),
    "the names that are usual with Unsloth": (unsloth(), OTHERS, "targetModules", "called q_proj or k_proj or"),
    "a glob, which Unsloth does not know": (
        unsloth(targetModules=["*_proj"]),
        TENSORS,
        "targetModules",
        "_proj; it has",
    ),
    "all layers left out": (automodel(excludeModules=["*_proj"]), TENSORS, "excludeModules", "leaves no layer"),
    "a layer behind the last one": (
        unsloth(layersToTransform=[31, 32]),
        [],
        "layersToTransform",
        "names layer 32; the model has 32, from 0 to 31",
    ),
    "a range beyond the last layer": (
        unsloth(layerReplication=[[0, 20], [10, 40]]),
        [],
        "layerReplication",
        "names layers up to 40",
    ),
}


@pytest.mark.parametrize(("job", "tensors", "field", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_an_adapter_that_the_model_cannot_take_is_refused(
    job: Job, tensors: list[str], field: str, message: str
) -> None:
    with pytest.raises(CustomizerError, match=message) as raised:
        check_lora_layers(job, parse_config(LLAMA), tensors)
    assert raised.value.reason is Reason.LORA_UNFIT
    assert (raised.value.field or "").endswith(f".training.lora.{field}")


@pytest.mark.parametrize("kind", [{"ropeType": "linear"}, {"ropeType": "yarn"}], ids=["linear", "yarn"])
def test_positions_are_scaled_only_where_the_library_does_it(kind: dict[str, str]) -> None:
    asked = build_job(automodel=None, unsloth={"model": {"ropeScaling": {**kind, "factor": 2.0}}})
    check_rope(asked, {"model_type": "llama"})
    check_rope(build_job(automodel=None, unsloth={}), {"model_type": "gemma2"})
    with pytest.raises(CustomizerError, match="ropeScaling does nothing for a gemma2") as raised:
        check_rope(asked, {"model_type": "gemma2", "max_position_embeddings": 8192})
    assert raised.value.field == "unsloth.model.ropeScaling"
