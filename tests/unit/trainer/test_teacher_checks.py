"""A teacher must speak the tokens of the model, take its samples, and be shared out like it."""

from pathlib import Path
from typing import Any

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.model import parse_config
from customizer_trainer.teacher_checks import check_teacher, check_vocabularies, read_vocabulary
from tests.support.samples import LLAMA
from tests.unit.trainer.conftest import build_job

LARGER: dict[str, Any] = {**LLAMA, "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64}
MODEL = {"source": {"kind": "s3", "uri": "s3://bucket/teacher"}}


def check(teacher: dict[str, Any], **automodel: Any) -> None:
    job = build_job(automodel={"training": {"trainingType": "distillation"}, **automodel}, teacher=MODEL)
    check_teacher(job, parse_config(LLAMA), parse_config(teacher))


def test_a_larger_model_of_the_same_family_teaches() -> None:
    check(LARGER)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"vocab_size": 128512}, "128256 tokens apart, the teacher 128512", id="logits are more"),
        pytest.param({"max_position_embeddings": 1024}, "context is 1024 tokens", id="context is shorter"),
    ],
)
def test_a_teacher_is_refused_whose(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CustomizerError, match=message) as raised:
        check({**LARGER, **changes})
    assert raised.value.reason is Reason.TEACHER_UNFIT


def test_a_teacher_must_be_shared_evenly_too() -> None:
    spread = {"parallelism": {"numGpusPerNode": 8, "tensorParallelSize": 8}}
    with pytest.raises(CustomizerError, match="Of the teacher: The model has 4 key/value heads") as raised:
        check({**LARGER, "num_key_value_heads": 4}, **spread)
    assert raised.value.reason is Reason.PARALLELISM_INVALID


def test_the_same_number_must_mean_the_same_token(tokenizer_folder: Path) -> None:
    known = read_vocabulary(tokenizer_folder, trust_remote_code=False)
    check_vocabularies(known, dict(known))
    other = {**known, "zebra": 7}
    with pytest.raises(CustomizerError, match="1 tokens differ, 'zebra' first: number none of the model, 7 of the"):
        check_vocabularies(known, other)
