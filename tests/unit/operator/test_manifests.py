"""What is installed: least rights, restricted pods."""

from pathlib import Path
from typing import Any

import pytest
import yaml

BASE = Path(__file__).parents[3] / "manifests" / "base"


def load(kind: str) -> dict[str, Any]:
    for path in BASE.glob("*.yaml"):
        for item in yaml.safe_load_all(path.read_text()):
            if item["kind"] == kind:
                return dict(item)
    raise AssertionError(kind)


def test_the_operator_has_no_right_on_secrets_and_no_wildcard() -> None:
    for rule in load("ClusterRole")["rules"]:
        assert "secrets" not in rule["resources"]
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_the_operator_never_writes_a_spec() -> None:
    own = [rule for rule in load("ClusterRole")["rules"] if rule["apiGroups"] == ["customizer.dev"]]
    for rule in own:
        if "customizationjobs" in rule["resources"]:
            assert set(rule["verbs"]) <= {"get", "list", "watch", "delete"}


def test_the_operator_runs_restricted_and_alone() -> None:
    deployment = load("Deployment")["spec"]
    pod = deployment["template"]["spec"]
    container = pod["containers"][0]
    assert deployment["strategy"] == {"type": "Recreate"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)


@pytest.mark.parametrize("path", sorted(BASE.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_is_part_of_the_kustomization(path: Path) -> None:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    assert path.name == "kustomization.yaml" or path.name in listed


def test_the_overlay_to_copy_names_a_registry_for_every_image_of_ours() -> None:
    overlay = yaml.safe_load((BASE.parent / "overlays" / "registry" / "kustomization.yaml").read_text())
    (operator,) = load("Deployment")["spec"]["template"]["spec"]["containers"]
    patch = yaml.safe_load(overlay["patches"][0]["patch"])
    (patched,) = patch["spec"]["template"]["spec"]["containers"]
    ours = {entry["name"] for entry in operator["env"] if entry.get("value", "").startswith("customizer-")}
    assert {entry["name"] for entry in patched["env"] if "/" in entry["value"]} == ours
    assert [image["name"] for image in overlay["images"]] == [operator["image"]]
    assert patched["name"] == operator["name"]
