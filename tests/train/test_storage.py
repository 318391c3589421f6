"""Reading and writing a real S3 server."""

import os
import re
from pathlib import Path

import pytest

from customizer_contract.artifact import File
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.sources import ObjectStorage
from customizer_trainer.checkpoints import Checkpoint, CheckpointStore
from customizer_trainer.storage.s3 import S3
from tests.train.conftest import client
from tests.train.harness import Storage, build_job

MISSING = Reason.DATASET_NOT_FOUND


@pytest.fixture
def s3(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> S3:
    return connect(storage, monkeypatch, storage.secret_key)


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"s3://tests/storage/{request.node.name}"


def connect(storage: Storage, monkeypatch: pytest.MonkeyPatch, secret: str) -> S3:
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", storage.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    return S3(ObjectStorage(endpoint_url=storage.endpoint))


def write(folder: Path, **files: bytes) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files}


def test_files_come_back_as_they_were_sent_in_many_parts_or_one(s3: S3, prefix: str, tmp_path: Path) -> None:
    large = os.urandom(40 * 2**20)
    sent = s3.upload({**write(tmp_path / "a", large=large), "sub/small": write(tmp_path / "a", s=b"x")["s"]}, prefix)
    assert [(file.path, file.size_bytes) for file in sent] == [("large", len(large)), ("sub/small", 1)]
    s3.download_files(prefix, sent, tmp_path / "b", missing=MISSING)
    assert (tmp_path / "b" / "large").read_bytes() == large
    assert (tmp_path / "b" / "sub" / "small").read_bytes() == b"x"


def test_an_address_is_an_object_or_a_folder_never_a_mere_beginning(s3: S3, prefix: str) -> None:
    for name in ("data/train.jsonl", "data/val.jsonl", "data-old/train.jsonl"):
        s3.put(f"{prefix}/{name}", b"{}")
    listed = s3.list_objects(f"{prefix}/data", missing=MISSING)
    assert [stored.path for stored in listed] == ["train.jsonl", "val.jsonl"]
    (exact,) = s3.list_objects(f"{prefix}/data/val.jsonl", missing=MISSING)
    assert (exact.path, exact.size_bytes) == ("val.jsonl", 2)


def test_a_download_goes_on_where_it_was_interrupted(s3: S3, prefix: str, tmp_path: Path) -> None:
    s3.upload(write(tmp_path / "a", one=b"1", two=b"2"), prefix)
    s3.download(prefix, tmp_path / "b", missing=MISSING)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "b").glob("[ot]*")}
    (tmp_path / "b" / "two").unlink()
    s3.put(f"{prefix}/three", b"3")
    s3.download(prefix, tmp_path / "b", missing=MISSING)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "b").glob("[ot]*")}
    assert after["one"] == before["one"]
    assert after["two"] != before["two"]
    assert (tmp_path / "b" / "three").read_bytes() == b"3"


def test_a_file_that_differs_from_its_manifest_is_refused_and_removed(s3: S3, prefix: str, tmp_path: Path) -> None:
    (sent,) = s3.upload(write(tmp_path / "a", weights=b"right"), prefix)
    s3.put(f"{prefix}/weights", b"wrong")
    with pytest.raises(CustomizerError) as raised:
        s3.download_files(prefix, [sent], tmp_path / "b", missing=MISSING)
    assert (raised.value.reason, raised.value.file) == (Reason.ARTIFACT_INVALID, "weights")
    assert not (tmp_path / "b" / "weights").exists()


def test_of_two_writers_one_wins(s3: S3, prefix: str) -> None:
    assert s3.put_if_absent(f"{prefix}/manifest.json", b"first")
    assert not s3.put_if_absent(f"{prefix}/manifest.json", b"second")
    assert s3.read(f"{prefix}/manifest.json") == b"first"


def test_what_is_absent_is_none_or_the_caller_s_reason(s3: S3, prefix: str, tmp_path: Path) -> None:
    assert s3.read(f"{prefix}/nothing") is None
    assert not s3.exists(f"{prefix}/nothing")
    for refused, reason in {
        lambda: s3.download(f"{prefix}/nothing", tmp_path, missing=MISSING): MISSING,
        lambda: s3.list_objects("s3://no-such-bucket/x", missing=MISSING): MISSING,
        lambda: s3.put("s3://no-such-bucket/x", b""): Reason.OUTPUT_NOT_FOUND,
        lambda: s3.upload(write(tmp_path / "u", a=b"1"), "s3://no-such-bucket/x"): Reason.OUTPUT_NOT_FOUND,
        lambda: s3.download_files(prefix, [File(path="a", size_bytes=1, sha256="0" * 64)], tmp_path, missing=MISSING): (
            MISSING
        ),
    }.items():
        with pytest.raises(CustomizerError) as raised:
            refused()
        assert raised.value.reason is reason


def test_wrong_keys_are_access_denied(storage: Storage, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    with pytest.raises(CustomizerError) as raised:
        connect(storage, monkeypatch, "wrong").read(f"{prefix}/x")
    assert raised.value.reason is Reason.ACCESS_DENIED


def test_no_keys_are_access_denied(storage: Storage, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    s3 = connect(storage, monkeypatch, "x")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    s3 = S3(ObjectStorage(endpoint_url=storage.endpoint))
    with pytest.raises(CustomizerError) as raised:
        s3.read(f"{prefix}/x")
    assert raised.value.reason is Reason.ACCESS_DENIED


def name_of(request: pytest.FixtureRequest) -> str:
    """Names a job after its test."""
    return re.sub("[^A-Za-z0-9]+", "-", f"checkpoints-{request.node.name}").strip("-")


class TestCheckpoints:
    """Complete or invisible."""

    @pytest.fixture
    def store(self, s3: S3, storage: Storage, request: pytest.FixtureRequest) -> CheckpointStore:
        return CheckpointStore(s3, build_job(storage, name_of(request), data="s3://tests/data/pairs"))

    def save(self, store: CheckpointStore, folder: Path, step: int) -> Checkpoint:
        checkpoint = Checkpoint(step=step, attempt=1, nodes=2)
        for node in range(2):
            write(folder / f"{step}-{node}", **{f"rank-{node}": f"{step}{node}".encode()})
            store.upload_part(checkpoint, node, folder / f"{step}-{node}")
        assert store.complete(checkpoint, lambda: False)
        return checkpoint

    def test_without_all_parts_nothing_is_there(self, store: CheckpointStore, tmp_path: Path) -> None:
        checkpoint = Checkpoint(step=1, attempt=1, nodes=2)
        write(tmp_path / "part", a=b"1")
        store.upload_part(checkpoint, 0, tmp_path / "part")
        assert not store.complete(checkpoint, lambda: False)
        assert store.list_complete() == []
        store.upload_part(checkpoint, 1, tmp_path / "part")
        assert store.complete(checkpoint, lambda: False)
        assert store.list_complete() == [checkpoint]

    def test_every_node_gets_the_parts_of_all(self, store: CheckpointStore, tmp_path: Path) -> None:
        checkpoint = self.save(store, tmp_path, 3)
        found = store.download_newest(tmp_path / "resume")
        assert found is not None
        assert found[0] == checkpoint
        assert {path.name: path.read_text() for path in found[1].iterdir()} == {"rank-0": "30", "rank-1": "31"}

    @pytest.mark.parametrize(
        "damaged", ["node-1/rank-1", "node-1.json", "COMPLETE.json"], ids=["a file", "a part's list", "the marker"]
    )
    def test_a_damaged_checkpoint_is_passed_over(
        self, store: CheckpointStore, storage: Storage, tmp_path: Path, request: pytest.FixtureRequest, damaged: str
    ) -> None:
        older = self.save(store, tmp_path, 3)
        newer = self.save(store, tmp_path, 6)
        name = name_of(request)
        key = f"out/{name}.work/uid-of-{name}/checkpoints/{newer.name}/{damaged}"
        client(storage).put_object(Bucket="tests", Key=key, Body=b"damaged")
        found = store.download_newest(tmp_path / "resume")
        assert found is not None
        assert found[0] == older

    def test_a_deleted_checkpoint_is_gone(self, store: CheckpointStore, tmp_path: Path) -> None:
        store.delete(self.save(store, tmp_path, 3))
        assert store.list_complete() == []
        assert store.download_newest(tmp_path / "resume") is None
