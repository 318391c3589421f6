"""RoPE scaling, as the library takes it and as the published configuration says it."""

from typing import Any

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.rope import RopeScaling
from customizer_trainer.backends.rope import complete_rope, scale_config

LLAMA = {"model_type": "llama", "max_position_embeddings": 4096}
LINEAR = {"rope_type": "linear", "factor": 2.0}
YARN = {"rope_type": "yarn", "factor": 4.0}


@pytest.mark.parametrize(
    ("config", "scaling", "added"),
    [
        pytest.param(
            {**LLAMA, "rope_theta": 5e5}, LINEAR, {"rope_theta": 5e5}, id="the base of an older configuration"
        ),
        pytest.param(
            {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 2e4}},
            LINEAR,
            {"rope_theta": 2e4},
            id="the base of a newer one",
        ),
        pytest.param(LLAMA, LINEAR, {"rope_theta": 1e4}, id="the base when none is named"),
        pytest.param(
            LLAMA, YARN, {"rope_theta": 1e4, "original_max_position_embeddings": 4096}, id="the length it was made for"
        ),
        pytest.param(
            LLAMA,
            {**YARN, "original_max_position_embeddings": 2048},
            {"rope_theta": 1e4, "original_max_position_embeddings": 2048},
            id="a length that is given",
        ),
        pytest.param(
            {"text_config": {**LLAMA, "rope_theta": 7.0}}, LINEAR, {"rope_theta": 7.0}, id="a text model inside"
        ),
    ],
)
def test_a_scaling_takes_over_from_the_model(
    config: dict[str, Any], scaling: dict[str, Any], added: dict[str, Any]
) -> None:
    assert complete_rope(config, RopeScaling(**scaling)) == {**scaling, **added}


@pytest.mark.parametrize(
    "config",
    [
        {**LLAMA, "model_type": "gemma2"},
        {**LLAMA, "model_type": "gemma3_text", "rope_parameters": {"full_attention": {"rope_theta": 1e6}}},
    ],
)
def test_a_model_with_a_rotation_of_its_own_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(CustomizerError, match="ropeScaling does nothing") as refusal:
        complete_rope(config, RopeScaling(**LINEAR))
    assert refusal.value.reason == Reason.MODEL_INVALID


@pytest.mark.parametrize(
    ("config", "scaling", "published"),
    [
        pytest.param(
            {**LLAMA, "rope_theta": 5e5, "rope_scaling": None},
            LINEAR,
            {**LLAMA, "rope_theta": 5e5, "rope_scaling": LINEAR},
            id="older",
        ),
        pytest.param(
            {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 2e4}},
            LINEAR,
            {**LLAMA, "rope_parameters": {**LINEAR, "rope_theta": 2e4}},
            id="newer",
        ),
        pytest.param(
            {"model_type": "m", "text_config": LLAMA},
            YARN,
            {
                "model_type": "m",
                "text_config": {
                    **LLAMA,
                    "max_position_embeddings": 16384,
                    "rope_scaling": {**YARN, "original_max_position_embeddings": 4096},
                },
            },
            id="inside, and longer",
        ),
    ],
)
def test_a_published_model_says_how_it_was_trained(
    config: dict[str, Any], scaling: dict[str, Any], published: dict[str, Any]
) -> None:
    assert scale_config(config, RopeScaling(**scaling)) == published
