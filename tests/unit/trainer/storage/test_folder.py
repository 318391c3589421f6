"""A folder does what S3 does."""

from pathlib import Path

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.storage.folder import Folder
from customizer_trainer.storage.output import open_output
from customizer_trainer.storage.s3 import S3
from tests.unit.trainer.conftest import build_job

MISSING = Reason.DATASET_NOT_FOUND


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return f"file://{tmp_path / 'out'}"


def write(folder: Path, **files: bytes) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files}


def test_files_come_back_as_they_were_sent(prefix: str, tmp_path: Path) -> None:
    sent = Folder().upload({**write(tmp_path / "a", large=b"1" * 1000), "sub/s": tmp_path / "a" / "large"}, prefix)
    assert [file.path for file in sent] == ["large", "sub/s"]
    Folder().download_files(prefix, sent, tmp_path / "b", missing=MISSING)
    assert (tmp_path / "b" / "sub" / "s").read_bytes() == b"1" * 1000
    assert sorted(stored.path for stored in Folder().list_objects(prefix, missing=MISSING)) == ["large", "sub/s"]


def test_a_damaged_file_is_refused_and_sent_again(prefix: str, tmp_path: Path) -> None:
    files = write(tmp_path / "a", weights=b"right")
    sent = Folder().upload(files, prefix)
    (tmp_path / "out" / "weights").write_bytes(b"wrong")
    with pytest.raises(CustomizerError) as raised:
        Folder().download_files(prefix, sent, tmp_path / "b", missing=MISSING)
    assert raised.value.reason is Reason.ARTIFACT_INVALID
    Folder().upload(files, prefix)
    assert Folder().read(f"{prefix}/weights") == b"right"


def test_of_two_writers_one_wins_and_nothing_else_is_left(prefix: str, tmp_path: Path) -> None:
    assert Folder().put_if_absent(f"{prefix}/manifest.json", b"first")
    assert not Folder().put_if_absent(f"{prefix}/manifest.json", b"second")
    Folder().put(f"{prefix}/manifest.json", b"third")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]
    assert Folder().read(f"{prefix}/manifest.json") == b"third"


def test_what_is_deleted_leaves_no_folder_behind(prefix: str, tmp_path: Path) -> None:
    Folder().put(f"{prefix}/a/b/c", b"")
    Folder().put(f"{prefix}/d", b"")
    Folder().delete(f"{prefix}/a")
    Folder().delete_object(f"{prefix}/nothing")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["d"]


def test_what_is_absent_is_none_or_the_caller_s_reason(prefix: str, tmp_path: Path) -> None:
    assert Folder().read(f"{prefix}/nothing") is None
    assert not Folder().exists(f"{prefix}/nothing")
    assert Folder().find_any(prefix, missing=MISSING) is None
    with pytest.raises(CustomizerError) as raised:
        Folder().download(f"{prefix}/nothing", tmp_path, missing=MISSING)
    assert raised.value.reason is MISSING


def test_an_output_below_a_file_is_told_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CustomizerError) as raised:
        Folder().put(f"file://{tmp_path / 'file'}/manifest.json", b"")
    assert raised.value.reason is Reason.OUTPUT_NOT_FOUND


def test_a_job_s_output_is_where_its_address_says() -> None:
    assert isinstance(open_output(build_job(artifactUri="file:///out")), Folder)
    assert isinstance(open_output(build_job()), S3)
