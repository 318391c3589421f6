"""When an image is built again."""

from pathlib import Path

import pytest

from tests.cluster import images
from tests.cluster.files import write
from tests.cluster.settings import REPOSITORY


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Returns a tree with inputs of every image, each a file with its own name in it."""
    sources = ("operator/customizer_operator", "trainer/customizer_contract", "trainer/customizer_trainer")
    engine = "tests/cluster/images/engine"
    pins = (".dockerignore", "pyproject.toml", "uv.lock")
    dockerfiles = ("operator/Dockerfile", "trainer/Dockerfile")
    for path in (*pins, *dockerfiles, *(f"{folder}/main.py" for folder in (*sources, engine))):
        write(tmp_path / path, path)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "rebuilt"),
    [
        ("operator/customizer_operator/main.py", {"operator"}),
        ("trainer/customizer_trainer/main.py", {"io", "automodel", "unsloth"}),
        ("trainer/customizer_contract/main.py", {"operator", "io", "automodel", "unsloth"}),
        ("tests/cluster/images/engine/main.py", {"engine"}),
        ("uv.lock", {"operator", "io", "automodel", "unsloth", "engine"}),
        ("README.md", set()),
    ],
)
def test_an_image_gets_a_new_name_when_its_inputs_change(tree: Path, changed: str, rebuilt: set[str]) -> None:
    before = images.recipes("base", tree)
    write(tree / changed, "something else")
    after = images.recipes("base", tree)
    assert {name for name in before if before[name].reference != after[name].reference} == rebuilt


def test_every_image_depends_on_the_base(tree: Path) -> None:
    first, second = images.recipes("base", tree), images.recipes("another", tree)
    assert all(first[name].reference != second[name].reference for name in first)


def test_the_snapshot_of_the_sources_makes_the_same_images() -> None:
    with images.snapshot() as tree:
        assert references(tree) == references(REPOSITORY)


def references(tree: Path) -> list[str]:
    return [recipe.reference for recipe in images.recipes("base", tree).values()]
