"""What the layout of the repository must keep, beyond what linters check."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {
    "LICENSE",
    "Makefile",
    "README.md",
    "crds",
    "kind-config.yaml",
    "manifests",
    "operator",
    "pyproject.toml",
    "tests",
    "trainer",
    "uv.lock",
}


def tracked() -> list[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listing.stdout.splitlines()


def test_the_folder_operator_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    subprocess.run([sys.executable, "-c", "import operator; operator.add(1, 2)"], cwd=ROOT, check=True)


def test_the_top_level_is_as_the_design_says() -> None:
    assert {path.split("/")[0] for path in tracked() if not path.startswith(".")} == TOP_LEVEL


@pytest.mark.parametrize("folder", ["operator/", "trainer/", "tests/cluster/", "tests/demo/", "tests/support/"])
def test_modules_stay_small(folder: str) -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in tracked() if path.endswith(".py")}
    assert {path: n for path, n in lengths.items() if path.startswith(folder) and n > 350} == {}
