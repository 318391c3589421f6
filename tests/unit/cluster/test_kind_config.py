"""kind cannot run everywhere, so its configuration is read by kind's own types and compared with ours."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.cluster import settings
from tests.cluster.commands import CommandError, run

CONFIGURATION = settings.REPOSITORY / "kind-config.yaml"
CHECK = settings.HERE / "kindcheck"


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_kind_accepts_the_configuration(tmp_path: Path) -> None:
    run("go", "run", "-C", CHECK, ".", CONFIGURATION)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(CONFIGURATION.read_text().replace("role: worker", "rolle: worker", 1))
    with pytest.raises(CommandError, match="field rolle not found"):
        run("go", "run", "-C", CHECK, ".", wrong)


def test_the_workers_have_the_labels_of_the_local_nodes() -> None:
    nodes = yaml.safe_load(CONFIGURATION.read_text())["nodes"]
    workers = [node["labels"] for node in nodes if node["role"] == "worker"]
    assert workers == [node.labels for node in settings.load().nodes]
