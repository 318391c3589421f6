"""Content keys, and folders that are whole or absent."""

from pathlib import Path

import pytest

from tests.cluster.files import digest, make_once, write


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    write(folder / "inner" / "file", "text")
    return folder


def test_the_digest_of_the_same_content_is_the_same(tree: Path) -> None:
    assert digest(tree, "flag") == digest(tree, "flag")


def test_compiled_python_does_not_count(tree: Path) -> None:
    before = digest(tree)
    write(tree / "__pycache__" / "file.pyc", "compiled")
    assert digest(tree) == before


@pytest.mark.parametrize("change", ["content", "name", "mode", "text"])
def test_any_change_gives_another_digest(tree: Path, change: str) -> None:
    before = digest(tree, "flag")
    file = tree / "inner" / "file"
    match change:
        case "content":
            file.write_text("other")
        case "name":
            file.rename(file.with_name("other"))
        case "mode":
            file.chmod(0o755)
        case "text":
            assert digest(tree, "other") != before
            return
    assert digest(tree, "flag") != before


def test_where_a_tree_lies_does_not_count(tree: Path, tmp_path: Path) -> None:
    before = digest(tree)
    (tmp_path / "clone").mkdir()
    assert digest(tree.rename(tmp_path / "clone" / "tree")) == before


def test_a_folder_is_filled_once(tmp_path: Path) -> None:
    calls: list[Path] = []
    for _ in range(2):
        make_once(tmp_path / "made", calls.append)
    assert len(calls) == 1


def test_a_folder_whose_filling_was_cut_short_is_filled_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder / "half", "")
        raise InterruptedError

    with pytest.raises(InterruptedError):
        make_once(tmp_path / "made", fail)
    assert not (tmp_path / "made").exists()
    make_once(tmp_path / "made", lambda folder: write(folder / "whole", ""))
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["whole"]
