"""Which manifests are none."""

import pytest

from customizer_contract.artifact import File
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.serving import ArtifactInput
from customizer_trainer.serving.artifacts import parse_artifact
from tests.unit.trainer.serving.test_live_adapters import describe

WANTED = ArtifactInput(uri="s3://bucket/one")


@pytest.mark.parametrize("path", ["", ".", "/etc/passwd", "../escape", "a/../../escape", "a\0b"])
def test_a_file_must_have_a_path_below_the_artifact(path: str) -> None:
    files = [File(path=path, size_bytes=1, sha256="0" * 64)]
    manifest = describe("s3://bucket/one").manifest.model_copy(update={"files": files})
    with pytest.raises(CustomizerError, match="not a path below") as refusal:
        parse_artifact(WANTED, manifest.to_json().encode())
    assert refusal.value.reason == Reason.ARTIFACT_INVALID


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 10_000, b'{"files": [{}]}'])
def test_a_manifest_that_is_malformed_is_refused(content: bytes) -> None:
    with pytest.raises(CustomizerError, match=r"manifest\.json") as refusal:
        parse_artifact(WANTED, content)
    assert refusal.value.reason == Reason.ARTIFACT_INVALID
