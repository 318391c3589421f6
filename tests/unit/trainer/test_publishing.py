import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from customizer_contract.artifact import BaseModelReference, File, Manifest
from customizer_contract.result import DatasetFacts, Lengths, SplitFacts
from customizer_trainer.checkpoints import Checkpoint
from customizer_trainer.publishing import Made, build_manifest, find_owner, find_revision, installed_versions, refer
from tests.unit.trainer.conftest import build_job

SPLIT = SplitFacts(samples=9, tokens=90, lengths=Lengths(mean=10, p50=10, p95=10, max=10))
DATASET = DatasetFacts(format="chat", training=SPLIT, validation=SPLIT, digest="d" * 64)


TEMPLATE = "{{ messages }}"


BASE = BaseModelReference(uri="s3://bucket/model", digest="f" * 64)


def made(step: int, path: str = ".", **checkpoint: Any) -> Made:
    return Made(Checkpoint(step=step, attempt=2, nodes=1, train_loss=1.5, **checkpoint), path, None, 1.25)


def manifest(model: Path = Path("/nonexistent"), *results: Made, **job: Any) -> Manifest:
    return build_manifest(
        build_job(**job),
        files=[File(path="b", size_bytes=2, sha256="b" * 64), File(path="a", size_bytes=1, sha256="a" * 64)],
        model=model,
        base=BASE,
        teacher=None,
        made=results or [made(7)],
        dataset=DATASET,
        packages={"torch": "2.13.0"},
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_manifest_says_what_the_artifact_is_and_where_it_comes_from() -> None:
    found = manifest()
    assert (found.type, found.prompt_format, found.step) == ("model", "chat", 7)
    assert [file.path for file in found.files] == ["a", "b"]
    assert found.base_model == BASE
    assert found.metrics == {"train_loss": 1.5, "reloaded_loss": 1.25}
    assert found.checkpoint == "step-00000007-a2"
    assert found.job.uid == "7c9e"
    assert found.alternates == []


def test_a_manifest_names_what_lies_beside_the_result() -> None:
    found = manifest(Path("/nonexistent"), made(7), made(9, "alternates/last", validation_loss=2.0))
    assert found.step == 7
    (last,) = found.alternates
    assert (last.path, last.step, last.checkpoint) == ("alternates/last", 9, "step-00000009-a2")
    assert last.metrics == {"train_loss": 1.5, "validation_loss": 2.0, "reloaded_loss": 1.25}


def test_what_lies_beside_the_result_is_not_served() -> None:
    files = [File(path=path, size_bytes=1, sha256="a" * 64) for path in ("alternates/last/config.json", "config.json")]
    assert [file.path for file in manifest().model_copy(update={"files": files}).served_files] == ["config.json"]


def test_a_manifest_says_what_made_prompts_and_which_commit_was_trained(tmp_path: Path) -> None:
    digest = hashlib.sha256(TEMPLATE.encode()).hexdigest()
    dataset = {"training": {"kind": "s3", "uri": "s3://bucket/data"}, "promptTemplate": "{a} {b}"}
    assert manifest(dataset=dataset).prompt_template == "{a} {b}"
    assert manifest(tmp_path).chat_template_digest is None
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    assert manifest(tmp_path).chat_template_digest == digest
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    assert manifest(tmp_path).chat_template_digest == digest
    assert find_revision(tmp_path) is None
    note = tmp_path / ".cache/huggingface/download/config.json.metadata"
    note.parent.mkdir(parents=True)
    note.write_text("0123abc\netag\n1.5\n")
    assert find_revision(tmp_path) == "0123abc"


def test_an_artifact_is_referred_to_by_the_digest_of_its_manifest() -> None:
    content = manifest().to_json().encode()
    reference = refer(build_job(), content)
    assert (reference.uri, reference.size_bytes, reference.type) == ("s3://bucket/out/tickets", 3, "model")
    assert reference.manifest_digest != refer(build_job(), content + b" ").manifest_digest


def test_the_owner_of_an_artifact_is_the_job_of_its_manifest() -> None:
    owner = find_owner(manifest().to_json().encode())
    assert owner is not None
    assert owner.uid == "7c9e"
    assert find_owner(b"not a manifest") is None


def test_versions_are_those_that_are_installed() -> None:
    versions = installed_versions(["pydantic", "no-such-package"])
    assert list(versions) == ["pydantic"]
