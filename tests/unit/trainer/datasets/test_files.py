import pytest

from customizer_trainer.datasets.files import DataFiles, find_data, find_validation, select_data

CASES = {
    "names at the top decide": (
        ["train.jsonl", "validation.jsonl", "README.md"],
        DataFiles(["train.jsonl"], ["validation.jsonl"]),
    ),
    "all spellings are known": (
        ["training_a.jsonl", "train-b.jsonl", "val.jsonl", "dev.jsonl"],
        DataFiles(["train-b.jsonl", "training_a.jsonl"], ["dev.jsonl", "val.jsonl"]),
    ),
    "folders one level deep decide by their names": (
        ["train/a.jsonl", "training/b.jsonl", "dev/c.jsonl", "deep/er/d.jsonl", "test/e.jsonl"],
        DataFiles(["train/a.jsonl", "training/b.jsonl"], ["dev/c.jsonl"], ["test/e.jsonl"]),
    ),
    "without a name that says training, every other file at the top is": (
        ["b.jsonl", "a.jsonl", "sub/c.jsonl"],
        DataFiles(["a.jsonl", "b.jsonl"], [], ["sub/c.jsonl"]),
    ),
    "validation files are never trained on": (
        ["data.jsonl", "validation.jsonl"],
        DataFiles(["data.jsonl"], ["validation.jsonl"]),
    ),
    "validation files alone leave nothing to train on": (["val.jsonl"], DataFiles([], ["val.jsonl"])),
    "beside lines, documents are something else": (
        ["train.jsonl", "train.json", "dataset_info.json"],
        DataFiles(["train.jsonl"], [], ["dataset_info.json", "train.json"]),
    ),
    "tables and lines are read together, in the order of their names": (
        ["train-b.parquet", "train-a.jsonl.zst", "validation.parquet"],
        DataFiles(["train-a.jsonl.zst", "train-b.parquet"], ["validation.parquet"]),
    ),
    "the hub's layout": (
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"],
        DataFiles(
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            [],
            ["data/test-00000-of-00001.parquet"],
        ),
    ),
    "test files are for neither, even where no name says training": (
        ["a.jsonl", "test.jsonl", "testimonials.jsonl"],
        DataFiles(["a.jsonl", "testimonials.jsonl"], [], ["test.jsonl"]),
    ),
    "documents count where there are no lines": (["train.json"], DataFiles(["train.json"], [])),
    "compressed files count": (["train.jsonl.gz"], DataFiles(["train.jsonl.gz"], [])),
}


@pytest.mark.parametrize(("paths", "expected"), CASES.values(), ids=CASES.keys())
def test_files_are_sorted_by_their_names(paths: list[str], expected: DataFiles) -> None:
    assert find_data(paths) == expected


def test_a_source_named_for_validation_gives_what_says_so_or_else_everything() -> None:
    assert find_validation(["train.jsonl", "val.jsonl"]) == ["val.jsonl"]
    assert find_validation(["held-out.jsonl"]) == ["held-out.jsonl"]


def test_only_data_is_downloaded() -> None:
    paths = ["a.jsonl", "b.parquet", "c/d.json.gz", "c/d/e.jsonl", "README.md", "f.csv", "g.jsonl.xz", "h.json.bz2"]
    assert select_data(paths) == ["a.jsonl", "b.parquet", "c/d.json.gz", "g.jsonl.xz", "h.json.bz2"]
