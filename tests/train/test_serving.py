"""`verify` and `stage` against a real S3 server: what is served is what was published, or nothing is."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.adapters import AdapterInput
from customizer_contract.artifact import AdapterReference, BaseModelReference, File, JobReference, Manifest
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.serving import ArtifactInput, LoraServer, Serving, SidecarInput
from customizer_trainer.commands import stage, verify
from customizer_trainer.commands.sidecar import build_adapters
from customizer_trainer.storage.digest import model_digest
from customizer_trainer.storage.s3 import S3
from tests.train.conftest import client
from tests.train.harness import Storage

BASE = "s3://tests/models/tiny"
WEIGHTS = b"adapter weights"
FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": WEIGHTS}


@pytest.fixture(autouse=True)
def credentials(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives the credentials as a Secret does."""
    for name, value in storage.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def published(storage: Storage, model: Path, request: pytest.FixtureRequest) -> str:
    """Publishes an adapter of the tiny model at an address of its own."""
    uri = f"s3://tests/serving/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    publish(storage, uri, model)
    return uri


def build_manifest(model: Path, **changes: Any) -> Manifest:
    """Describes FILES as an adapter of the tiny model; members replace the defaults."""
    manifest = Manifest(
        name="tickets",
        type="adapter",
        files=[
            File(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for path, content in FILES.items()
        ],
        base_model=BaseModelReference(uri=BASE, digest=model_digest(model)),
        adapter=AdapterReference(rank=8, alpha=16, target_modules=["q_proj"]),
        prompt_format="completion",
        dataset_digest="0" * 64,
        job=JobReference(name="tickets", namespace="tests", uid="1", spec_hash="0" * 64),
        step=1,
        metrics={},
        packages={},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return manifest.model_copy(update=changes)


def publish(storage: Storage, uri: str, model: Path, **changes: Any) -> str:
    """Writes FILES and their manifest; returns the manifest's digest."""
    manifest = build_manifest(model, **changes).to_json().encode()
    for path, content in {**FILES, "manifest.json": manifest}.items():
        put(storage, f"{uri}/{path}", content)
    return hashlib.sha256(manifest).hexdigest()


def put(storage: Storage, uri: str, content: bytes) -> None:
    """Writes an object, whatever was there."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    client(storage).put_object(Bucket=bucket, Key=key, Body=content)


def build_serving(storage: Storage, **parts: Any) -> Serving:
    """Builds a serving file; parts are given with the wire's names."""
    where = {"name": "bot", "namespace": "tests", "storage": {"endpointUrl": storage.endpoint}}
    return Serving.model_validate_json(json.dumps({**where, **parts}))


def test_verify_tells_what_a_server_needs_to_know(storage: Storage, published: str, model: Path) -> None:
    artifact = verify.run(build_serving(storage, artifact={"uri": published})).artifact
    assert artifact is not None
    assert artifact.manifest_digest == hashlib.sha256(build_manifest(model).to_json().encode()).hexdigest()
    assert (artifact.name, artifact.type, artifact.base_model) == ("tickets", "adapter", BASE)
    assert artifact.adapter is not None
    assert artifact.adapter.rank == 8


def test_stage_brings_an_adapter_and_its_base(storage: Storage, published: str, model: Path, tmp_path: Path) -> None:
    stage.run(build_serving(storage, artifact={"uri": published}), tmp_path)
    assert model_digest(tmp_path / "model") == model_digest(model)
    for path, content in FILES.items():
        assert (tmp_path / "adapters" / "tickets" / path).read_bytes() == content


def test_the_name_as_served_is_the_name_of_the_folder(storage: Storage, published: str, tmp_path: Path) -> None:
    stage.run(build_serving(storage, artifact={"uri": published}, servedModelName="other"), tmp_path)
    assert [folder.name for folder in (tmp_path / "adapters").iterdir()] == ["other"]


def test_stage_brings_a_full_model_alone(storage: Storage, published: str, model: Path, tmp_path: Path) -> None:
    publish(storage, published, model, type="model", adapter=None)
    stage.run(build_serving(storage, artifact={"uri": published}), tmp_path)
    assert {path.name for path in (tmp_path / "model").iterdir()} == set(FILES)
    assert not (tmp_path / "adapters").exists()


def test_an_adapter_of_the_servers_own_model_comes_alone(storage: Storage, published: str, tmp_path: Path) -> None:
    serving = build_serving(storage, artifact={"uri": published}, baseInImage=True)
    assert verify.run(serving).artifact is not None
    stage.run(serving, tmp_path)
    assert (tmp_path / "adapters" / "tickets").is_dir()
    assert not (tmp_path / "model").exists()


def test_a_base_model_on_a_volume_is_not_copied(storage: Storage, published: str, model: Path, tmp_path: Path) -> None:
    source = {"kind": "volume", "path": str(model), "claimName": "models"}
    serving = build_serving(storage, artifact={"uri": published}, model={"source": source})
    stage.run(serving, tmp_path)
    assert (tmp_path / "model").resolve() == model.resolve()
    stage.run(serving, tmp_path)


def test_a_base_model_is_staged_as_it_is(storage: Storage, model: Path, tmp_path: Path) -> None:
    serving = build_serving(storage, model={"source": {"kind": "s3", "uri": BASE}})
    assert verify.run(serving).artifact is None
    stage.run(serving, tmp_path)
    assert model_digest(tmp_path / "model") == model_digest(model)


def test_servers_share_a_cache_and_bring_a_model_once(
    storage: Storage, published: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = publish(storage, published, model, type="model", adapter=None)
    serving = build_serving(storage, artifact={"uri": published}, cached=True)
    brought = count_downloads(monkeypatch)
    stores = [tmp_path / str(number) for number in range(10)]
    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(lambda store: stage.run(serving, store, tmp_path / "cache"), stores))
    assert sorted(brought) == sorted(f"{published}/{path}" for path in FILES)
    for store in stores:
        assert (store / "model").resolve() == tmp_path / "cache" / digest
        assert (store / "model" / "adapter_model.safetensors").read_bytes() == WEIGHTS


def test_adapters_share_the_base_model_in_the_cache(storage: Storage, published: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        serving = build_serving(storage, artifact={"uri": published}, servedModelName=name, cached=True)
        stage.run(serving, tmp_path / name, tmp_path / "cache")
        assert (tmp_path / name / "adapters" / name).is_dir()
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_an_adapter_is_compared_with_the_base_model_in_the_cache(
    storage: Storage, published: str, tmp_path: Path
) -> None:
    sidecar = SidecarInput(port=1, lora=LoraServer(loading="Call", max_rank=8))
    serving = build_serving(storage, model={"source": {"kind": "s3", "uri": BASE}}, cached=True)
    stage.run(serving, tmp_path / "store", tmp_path / "cache")
    wanted = AdapterInput(name="tickets", artifact=ArtifactInput(uri=published))
    assert build_adapters(serving, sidecar, tmp_path / "store").find(wanted).manifest.name == "tickets"
    # As where a container does not mount the cache.
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    with pytest.raises(CustomizerError, match="neither a config nor weights") as refusal:
        build_adapters(serving, sidecar, tmp_path / "store").find(wanted)
    assert refusal.value.reason == Reason.MODEL_INVALID


def test_a_changed_file_in_the_cache_is_mended_and_a_foreign_one_refused(
    storage: Storage, published: str, model: Path, tmp_path: Path
) -> None:
    digest = publish(storage, published, model, type="model", adapter=None)
    serving = build_serving(storage, artifact={"uri": published}, cached=True)
    stage.run(serving, tmp_path / "store", tmp_path / "cache")
    folder = tmp_path / "cache" / digest
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS[::-1])
    stage.run(serving, tmp_path / "store", tmp_path / "cache")
    assert (folder / "adapter_model.safetensors").read_bytes() == WEIGHTS
    (folder / "model-00002.safetensors").write_bytes(b"foreign")
    with pytest.raises(CustomizerError, match=r"model-00002\.safetensors on the cache volume is no file of the model"):
        stage.run(serving, tmp_path / "store", tmp_path / "cache")


@pytest.fixture
def base(storage: Storage, model: Path, request: pytest.FixtureRequest) -> str:
    """Uploads the tiny model to an address of its own."""
    uri = f"s3://tests/bases/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    for path in model.iterdir():
        put(storage, f"{uri}/{path.name}", path.read_bytes())
    return uri


@pytest.mark.parametrize("changed", ["tokenizer.json", "model.safetensors", "model-00002.safetensors"])
def test_a_base_model_that_was_changed_after_it_was_verified_is_not_served(
    storage: Storage, base: str, model: Path, tmp_path: Path, changed: str
) -> None:
    source = {"source": {"kind": "s3", "uri": base}}
    found = verify.run(build_serving(storage, model=source)).base
    assert found is not None
    serving = build_serving(storage, model=source, base=found.model_dump(), cached=True)
    stage.run(serving, tmp_path / "one", tmp_path / "cache")
    # A file that nobody takes for a part of the model changes nothing.
    put(storage, f"{base}/README.md", b"words")
    stage.run(serving, tmp_path / "two", tmp_path / "cache")
    put(storage, f"{base}/{changed}", (model / "tokenizer.json").read_bytes() + b" ")
    for direct in (False, True):
        with pytest.raises(CustomizerError, match="were changed after they were verified") as error:
            stage.run(serving.model_copy(update={"direct": direct}), tmp_path / "three", tmp_path / "cache")
        assert error.value.reason == Reason.ARTIFACT_INVALID
    # Verified anew, it comes into a folder of its own, and running servers keep what they have.
    again = verify.run(build_serving(storage, model=source)).base
    stage.run(serving.model_copy(update={"base": again}), tmp_path / "four", tmp_path / "cache")
    assert model_digest(tmp_path / "one" / "model") == model_digest(model)
    assert (tmp_path / "one" / "model").resolve() != (tmp_path / "four" / "model").resolve()


def test_a_foreign_file_beside_a_base_model_in_the_cache_is_refused(
    storage: Storage, base: str, tmp_path: Path
) -> None:
    serving = build_serving(storage, model={"source": {"kind": "s3", "uri": base}}, cached=True)
    stage.run(serving, tmp_path / "store", tmp_path / "cache")
    (tmp_path / "store" / "model" / "model-x.safetensors").write_bytes(b"foreign")
    with pytest.raises(CustomizerError, match=r"model-x\.safetensors on the cache volume is no file of the model"):
        stage.run(serving, tmp_path / "store", tmp_path / "cache")


def count_downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the address of every object that is downloaded."""
    brought: list[str] = []
    download = S3._download

    def note(self: S3, uri: str, target: Path, missing: Reason) -> None:
        brought.append(uri)
        download(self, uri, target, missing)

    monkeypatch.setattr(S3, "_download", note)
    return brought


def test_a_second_run_downloads_nothing_and_mends_what_is_broken(
    storage: Storage, published: str, tmp_path: Path
) -> None:
    serving = build_serving(storage, artifact={"uri": published})
    stage.run(serving, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    stage.run(serving, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in files} == before
    weights = tmp_path / "adapters" / "tickets" / "adapter_model.safetensors"
    weights.write_bytes(WEIGHTS[:5])
    stage.run(serving, tmp_path)
    assert weights.read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("path", "content", "by", "message"),
    [
        pytest.param("adapter_model.safetensors", b"short", verify, "has 5 bytes instead of 15", id="a truncated file"),
        pytest.param("adapter_model.safetensors", WEIGHTS[::-1], stage, "sha256 differ", id="a changed file"),
        pytest.param("manifest.json", b"{}", verify, "manifest.json", id="a manifest that is none"),
    ],
)
def test_what_differs_from_the_manifest_is_refused(
    storage: Storage, published: str, tmp_path: Path, path: str, content: bytes, by: Any, message: str
) -> None:
    put(storage, f"{published}/{path}", content)
    serving = build_serving(storage, artifact={"uri": published})
    with pytest.raises(CustomizerError, match=message) as refusal:
        by.run(serving, tmp_path) if by is stage else by.run(serving)
    assert refusal.value.reason == Reason.ARTIFACT_INVALID
    assert not (tmp_path / "adapters" / "tickets" / "adapter_model.safetensors").exists()


def test_weights_that_a_server_reads_by_itself_are_compared_where_they_are(
    storage: Storage, published: str, model: Path, tmp_path: Path
) -> None:
    publish(storage, published, model, type="model", adapter=None)
    serving = build_serving(storage, artifact={"uri": published}, direct=True)
    assert verify.run(serving).artifact is not None
    assert stage.run(serving, tmp_path).artifact is not None
    assert list(tmp_path.iterdir()) == []
    put(storage, f"{published}/adapter_model.safetensors", WEIGHTS[::-1])
    with pytest.raises(CustomizerError, match=r"adapter_model\.safetensors: size or sha256 differ"):
        stage.run(serving, tmp_path)
    put(storage, f"{published}/model-00002.safetensors", b"foreign")
    for command in (lambda: verify.run(serving), lambda: stage.run(serving, tmp_path)):
        with pytest.raises(CustomizerError, match=r"model-00002\.safetensors is not in the manifest") as refusal:
            command()
        assert refusal.value.reason == Reason.ARTIFACT_INVALID


def test_a_missing_file_is_named(storage: Storage, published: str) -> None:
    key = f"{published.removeprefix('s3://tests/')}/adapter_model.safetensors"
    client(storage).delete_object(Bucket="tests", Key=key)
    with pytest.raises(CustomizerError, match=r"adapter_model\.safetensors is missing") as refusal:
        verify.run(build_serving(storage, artifact={"uri": published}))
    assert refusal.value.reason == Reason.ARTIFACT_INVALID


def test_an_artifact_that_is_not_published_yet_is_not_found(storage: Storage) -> None:
    with pytest.raises(CustomizerError) as refusal:
        verify.run(build_serving(storage, artifact={"uri": "s3://tests/serving/nothing"}))
    assert refusal.value.reason == Reason.ARTIFACT_NOT_FOUND


@pytest.mark.parametrize("command", ["verify", "stage"])
def test_another_manifest_than_the_one_asked_for_is_refused(
    storage: Storage, published: str, tmp_path: Path, command: str
) -> None:
    serving = build_serving(storage, artifact={"uri": published, "manifestDigest": "f" * 64})
    with pytest.raises(CustomizerError, match="as asked for") as refusal:
        verify.run(serving) if command == "verify" else stage.run(serving, tmp_path)
    assert refusal.value.reason == Reason.ARTIFACT_INVALID


def test_a_swapped_base_model_is_refused(storage: Storage, published: str, model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in model.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    source = {"kind": "volume", "path": str(other), "claimName": "models"}
    serving = build_serving(storage, artifact={"uri": published}, model={"source": source})
    with pytest.raises(CustomizerError, match="changed since") as refusal:
        stage.run(serving, tmp_path / "store")
    assert refusal.value.reason == Reason.ARTIFACT_INVALID
    assert not (tmp_path / "store" / "adapters").exists()


def test_a_manifest_cannot_write_outside_its_folder(storage: Storage, published: str, model: Path) -> None:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    publish(storage, published, model, files=[File(path="../escape", size_bytes=1, sha256=digest)])
    with pytest.raises(CustomizerError, match="not a path below") as refusal:
        verify.run(build_serving(storage, artifact={"uri": published}))
    assert refusal.value.reason == Reason.ARTIFACT_INVALID


def test_a_base_model_that_is_gone_is_told_before_a_server_starts(
    storage: Storage, published: str, model: Path
) -> None:
    base = BaseModelReference(uri="s3://tests/models/gone", digest=model_digest(model))
    publish(storage, published, model, base_model=base)
    with pytest.raises(CustomizerError) as refusal:
        verify.run(build_serving(storage, artifact={"uri": published}))
    assert refusal.value.reason == Reason.MODEL_NOT_FOUND


def test_a_model_without_weights_is_refused(storage: Storage, model: Path, tmp_path: Path) -> None:
    put(storage, "s3://tests/models/empty/config.json", (model / "config.json").read_bytes())
    serving = build_serving(storage, model={"source": {"kind": "s3", "uri": "s3://tests/models/empty"}})
    with pytest.raises(CustomizerError, match="no weights") as refusal:
        stage.run(serving, tmp_path)
    assert refusal.value.reason == Reason.MODEL_INVALID
