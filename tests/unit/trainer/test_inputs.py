import json
from pathlib import Path, PurePosixPath
from typing import cast

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.sources import VolumeSource
from customizer_trainer.datasets.prepare import Data
from customizer_trainer.inputs import fetch_job_data, prepare_job_data
from customizer_trainer.storage.s3 import S3
from customizer_trainer.workspace import Workspace
from tests.support.samples import LLAMA
from tests.unit.trainer.conftest import build_job

NO_S3 = cast(S3, None)

CASES: dict[str, tuple[list[str], str, str | None, list[str], list[str]]] = {
    "a folder with both": (["train.jsonl", "val.jsonl"], "", None, ["train.jsonl"], ["val.jsonl"]),
    "a file": (["train.jsonl", "val.jsonl"], "train.jsonl", None, ["train.jsonl"], []),
    "a file counts whatever it is called": (["val.jsonl"], "val.jsonl", None, ["val.jsonl"], []),
    "two files": (["a.jsonl", "b.jsonl"], "a.jsonl", "b.jsonl", ["a.jsonl"], ["b.jsonl"]),
    "the same folder named twice": (["train.jsonl", "val.jsonl"], "", "", ["train.jsonl"], ["val.jsonl"]),
    "validation that was named beats what lies in the folder": (
        ["train.jsonl", "val.jsonl", "other/held.jsonl"],
        "",
        "other/held.jsonl",
        ["train.jsonl"],
        ["held.jsonl"],
    ),
}


def volume(folder: Path, path: str) -> VolumeSource:
    return VolumeSource(path=PurePosixPath(folder / path), claim_name="claim", claim_path=path)


@pytest.mark.parametrize(("files", "training", "validation", "trained", "validated"), CASES.values(), ids=CASES.keys())
def test_the_data_of_a_job_are_sorted(
    tmp_path: Path, files: list[str], training: str, validation: str | None, trained: list[str], validated: list[str]
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    dataset = {"training": volume(tmp_path, training)}
    if validation is not None:
        dataset["validation"] = volume(tmp_path, validation)
    data = fetch_job_data(build_job(dataset=dataset), NO_S3, Workspace(tmp_path / "workspace"))
    assert (sorted(data.training), sorted(data.validation)) == (trained, validated)


@pytest.mark.parametrize("files", [[], ["README.md"], ["val.jsonl"]])
def test_a_folder_without_training_data_is_refused(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    job = build_job(dataset={"training": volume(tmp_path, "")})
    with pytest.raises(CustomizerError, match="pvc://claim: no training file") as raised:
        fetch_job_data(job, NO_S3, Workspace(tmp_path / "workspace"))
    assert raised.value.reason is Reason.DATASET_NOT_FOUND


RECORDS = {
    "a prompt": {"prompt": "Hi <|late|>", "completion": " there"},
    "a completion": {"prompt": "Hi", "completion": " <|late|>"},
    "a text": {"text": "Hi <|late|>"},
    "a message": {"messages": [{"role": "user", "content": "Hi <|late|>"}, {"role": "assistant", "content": "x"}]},
}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())
def test_a_token_beyond_the_embedding_is_found_where_the_data_hold_it(
    tmp_path: Path, tokenizer_folder: Path, record: dict[str, object]
) -> None:
    """Added to the tokenizer after the model was made, as `[PAD]` or a mark of one's own often is."""
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(tokenizer_folder), tmp_path / "model"
    known = len(tokenizer)
    tokenizer.add_tokens(["<|late|>"], special_tokens=True)
    tokenizer.save_pretrained(model)
    (model / "config.json").write_text(json.dumps({**LLAMA, "vocab_size": known}))

    def prepare(records: list[dict[str, object]]) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text("\n".join(json.dumps(each) for each in records))
        prepare_job_data(build_job(), Data({path.name: path}, {}), model, tmp_path / "samples", with_tokens=False)

    usual = json.loads(json.dumps(record).replace("<|late|>", "late"))
    prepare([usual, usual])
    with pytest.raises(CustomizerError, match=rf"hold token {known}, .*ends with token {known - 1}") as raised:
        prepare([usual, usual, record])
    assert raised.value.reason is Reason.TOKENIZER_INVALID
