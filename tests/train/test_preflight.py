"""What preflight finds before anything is trained, through the real entry point."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from customizer_contract.errors import Reason
from customizer_contract.job import Job
from customizer_contract.sources import ObjectStorage, S3Source, display
from customizer_trainer.backends.automodel.architectures import OWN
from customizer_trainer.model import is_known_to_transformers
from tests.train.conftest import client
from tests.train.harness import Outcome, Pod, Storage, build_job
from tests.train.pods import measure


def preflight(job: Job, storage: Storage, disk: Path, **environment: str) -> Outcome:
    return Pod(disk, job, storage, environment).run("preflight")


def test_good_data_are_counted_and_reported(storage: Storage, tmp_path: Path) -> None:
    job = build_job(storage, "good", data="s3://tests/data/pairs", training={"maxSeqLength": 64})
    outcome = preflight(job, storage, tmp_path)
    assert outcome.code == 0, outcome.log
    dataset, model = outcome.result.dataset, outcome.result.model
    assert dataset is not None
    assert model is not None
    assert (dataset.training.samples, dataset.validation.samples) == (64, 9)
    assert (model.architecture, model.context_length) == ("LlamaForCausalLM", 512)
    assert model.size_bytes == sum(measure(storage, "s3://tests/models/tiny/").values())
    assert dataset.size_bytes == sum(measure(storage, "s3://tests/data/pairs/").values())
    assert dataset.report_uri == "s3://tests/out/good.work/uid-of-good/preflight.json"
    report = client(storage).get_object(Bucket="tests", Key="out/good.work/uid-of-good/preflight.json")["Body"].read()
    assert json.loads(report)["dataset"]["training"]["samples"] == 64
    page = client(storage).get_object(Bucket="tests", Key="out/good.work/uid-of-good/preflight.html")["Body"].read()
    assert b"Tokens of a sample" in page
    kept = client(storage).get_object(Bucket="tests", Key="out/good.work/uid-of-good/held-out.jsonl")["Body"].read()
    assert len(kept.splitlines()) == 9


def test_a_broken_record_is_named_by_file_line_and_field(storage: Storage, tmp_path: Path) -> None:
    job = build_job(storage, "broken", data="s3://tests/data/broken", training={"maxSeqLength": 64})
    outcome = preflight(job, storage, tmp_path)
    assert outcome.code == 65
    error = outcome.result.error
    assert error is not None
    assert (error.reason, error.file, error.line, error.field) == (
        Reason.DATASET_INVALID,
        "train.jsonl",
        7,
        "completion",
    )
    assert error.message.startswith("train.jsonl, line 7, field completion: expected a string")
    assert "The whole report is s3://tests/out/broken.work/uid-of-broken/preflight.json." in error.message
    assert "Traceback" not in outcome.log
    key = "out/broken.work/uid-of-broken/preflight.json"
    report = json.loads(client(storage).get_object(Bucket="tests", Key=key)["Body"].read())
    assert report["problemCounts"] == {"missing-field": 1}


def test_data_that_are_replaced_while_a_job_runs_are_not_trained(storage: Storage, tmp_path: Path) -> None:
    def upload(answer: str) -> None:
        lines = [json.dumps({"prompt": f"What is {number}?", "completion": answer}) for number in range(20)]
        client(storage).put_object(Bucket="tests", Key="data/replaced/a.jsonl", Body="\n".join(lines).encode())

    upload(" A number.")
    job = build_job(storage, "replaced", data="s3://tests/data/replaced", training={"maxSeqLength": 64})
    assert preflight(job, storage, tmp_path / "preflight").code == 0
    outcome = Pod(tmp_path / "first", job, storage).run("fetch")
    assert outcome.code == 0, outcome.log
    upload(" Another one.")
    outcome = Pod(tmp_path / "second", job, storage).run("fetch")
    assert outcome.code == 65, outcome.log
    assert outcome.result.error is not None
    assert outcome.result.error.reason is Reason.INPUTS_CHANGED
    assert "The dataset (sha256 " in outcome.result.error.message


def job(storage: Storage, /, **changes: object) -> Job:
    return build_job(storage, "wrong", data="s3://tests/data/pairs", training={"maxSeqLength": 64}).model_copy(
        update=changes
    )


def test_what_is_not_there_or_in_the_way_is_named(storage: Storage, tmp_path: Path) -> None:
    good = job(storage)
    nowhere = S3Source(uri="s3://tests/nowhere")
    cases = {
        Reason.MODEL_NOT_FOUND: {"model": good.model.model_copy(update={"source": nowhere})},
        Reason.DATASET_NOT_FOUND: {"dataset": good.dataset.model_copy(update={"training": nowhere})},
        Reason.OUTPUT_NOT_FOUND: {"artifact_uri": "s3://no-such-bucket/out"},
        # Published there, the result would overwrite the model that it was made from.
        Reason.OUTPUT_EXISTS: {"artifact_uri": display(good.model.source)},
    }
    for number, (reason, changes) in enumerate(cases.items()):
        outcome = preflight(job(storage, **changes), storage, tmp_path / str(number))
        assert outcome.code == 65, outcome.log
        assert outcome.result.error is not None
        assert outcome.result.error.reason == reason


@pytest.mark.parametrize(
    ("reason", "code", "secret", "endpoint"),
    [
        (Reason.ACCESS_DENIED, 65, "wrong", None),
        (Reason.STORAGE_UNAVAILABLE, 69, "tests-secret", "http://127.0.0.1:9"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_from_one_that_is_away(
    storage: Storage, tmp_path: Path, reason: Reason, code: int, secret: str, endpoint: str | None
) -> None:
    where = ObjectStorage(endpoint_url=endpoint or storage.endpoint)
    outcome = preflight(job(storage, storage=where), storage, tmp_path, AWS_SECRET_ACCESS_KEY=secret)
    assert outcome.code == code, outcome.log
    assert outcome.result.error is not None
    assert outcome.result.error.reason == reason


def test_a_job_file_of_another_release_is_refused_with_the_field(storage: Storage, tmp_path: Path) -> None:
    newer = json.dumps({**json.loads(job(storage).to_json()), "novelty": 1})
    outcome = Pod(tmp_path, job(storage), storage, job_file=newer).run("preflight")
    assert outcome.code == 64
    assert outcome.result.error is not None
    assert (outcome.result.error.reason, outcome.result.error.field) == (Reason.JOB_FILE_INVALID, "novelty")


def test_the_backend_has_the_architectures_that_preflight_lets_through() -> None:
    registry = import_module("nemo_automodel._transformers.registry")
    assert set(registry.MODEL_ARCH_MAPPING) >= OWN
    assert not any(is_known_to_transformers(name) for name in OWN)
