"""`customizer validate`: what the apiserver refuses is refused, in its words, and nothing else is."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from customizer_operator.api.base import Object
from customizer_operator.api.kinds import KINDS
from customizer_operator.cli.__main__ import main
from customizer_operator.cli.admission import admit, find_kind
from customizer_operator.cli.expressions import EvaluationError, holds
from customizer_operator.crds import build_crd
from tests.api.test_validation import BAD_NAMES, MISTAKES
from tests.support import samples

EXAMPLES = sorted((Path(__file__).parents[3] / "manifests" / "examples").glob("*.yaml"))


def deployment(**spec: Any) -> Object:
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "bot"},
        "spec": {"model": {"customizationJobRef": {"name": "tickets"}}, "runtime": {"type": "VLLM"}, **spec},
    }


def validate(item: Object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Returns the exit code, and what was printed."""
    file = tmp_path / "manifest.yaml"
    file.write_text(json.dumps(item))
    code = main(["validate", "-f", str(file)])
    return code, capsys.readouterr().out


@pytest.mark.parametrize(("spec", "words"), MISTAKES)
def test_what_the_apiserver_refuses_is_refused_with_the_same_words(
    spec: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = validate(samples.job(**spec), tmp_path, capsys)
    assert code == 1
    assert words in text


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_the_apiserver_refuses_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = validate(samples.job(name), tmp_path, capsys)
    assert code == 1
    assert "metadata.name becomes part of host names" in text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_valid(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "-f", str(path)]) == 0
    assert all(line.endswith(": valid") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("item", "line"),
    [
        pytest.param(
            samples.job(automodel={"parallelism": {"numNodes": 0}}),
            "spec.automodel.parallelism.numNodes: Invalid value: 0: .* should be greater than or equal to 1",
            id="a number below its bound",
        ),
        pytest.param(
            samples.job(automodel={"parallelism": {"numGpusPerNode": 17}}),
            "spec.automodel.parallelism.numGpusPerNode: Invalid value: 17: .* should be less than or equal to 16",
            id="a number above its bound",
        ),
        pytest.param(
            samples.job(automodel={"schedule": {"validationSplit": 1}}),
            "spec.automodel.schedule.validationSplit: Invalid value: 1.0: .* should be less than 1",
            id="a number at a bound that it must stay below",
        ),
        pytest.param(
            samples.job(automodel={"optimizer": {"learningRate": 0}}),
            "spec.automodel.optimizer.learningRate: Invalid value: 0.0: .* should be greater than 0",
            id="a number at a bound that it must stay above",
        ),
        pytest.param(
            samples.job(automodel={"training": {"finetuningType": "dpo"}}),
            'spec.automodel.training.finetuningType: Unsupported value: "dpo": supported values: "lora", "lora_merged"',
            id="a word that is not one of those allowed",
        ),
        pytest.param(
            samples.job(automodel={"parallelism": {"numNodes": "2"}}),
            "spec.automodel.parallelism.numNodes: Invalid value: must be of type integer",
            id="a number in quotes",
        ),
        pytest.param(
            samples.job(suspend=1), "spec.suspend: Invalid value: must be of type boolean", id="a number for a truth"
        ),
        pytest.param(
            samples.job(compute={"device": "cpu", "nodeSelector": {"pool": 1}}),
            "spec.compute.nodeSelector.pool: Invalid value: must be of type string",
            id="a number as a label's value",
        ),
        pytest.param(samples.job(output={}), "spec.output.s3: Required value", id="a field that is missing"),
        pytest.param(
            samples.job(output={"s3": None}), "spec.output.s3: Required value", id="null for a field that must be there"
        ),
        pytest.param(
            samples.job(output={"s3": {"uri": "s3://bucket/" + "a" * 1024}}),
            "spec.output.s3.uri: Too long: may not be more than 1024 bytes",
            id="a text that is too long",
        ),
        pytest.param(
            samples.job(objectStorage={"region": ""}),
            "spec.objectStorage.region: .* should be at least 1 chars long",
            id="a text that is too short",
        ),
        pytest.param(
            samples.job(compute={"device": "cpu", "nodeSelector": {f"label-{n}": "x" for n in range(33)}}),
            "spec.compute.nodeSelector: Too many: must have at most 32 items",
            id="too many entries",
        ),
        pytest.param(
            deployment(runtime={"type": "VLLM", "args": ["--a"] * 33}),
            "spec.runtime.args: Too many: must have at most 32 items",
            id="too many items",
        ),
        pytest.param(
            deployment(runtime={"type": "VLLM", "env": [{"name": "A", "value": "b", "vale": "c"}]}),
            'unknown field "spec.runtime.env[0].vale"',
            id="a misspelt field in a list",
        ),
        pytest.param(
            deployment(runtime={"type": "VLLM", "env": [{"name": "NIM_MODEL_NAME", "value": "x"}]}),
            "spec.runtime.env[0]: Invalid value: the operator sets this variable",
            id="a rule over an item of a list",
        ),
        pytest.param(
            deployment(runtime={"type": "VLLM", "args": ["--port=1"]}),
            "spec.runtime: Invalid value: the operator sets --model",
            id="an argument that is the operator's",
        ),
        pytest.param(
            {**samples.job(), "metadata": {"name": "tickets", "label": {}}},
            'unknown field "metadata.label"',
            id="a misspelt field of the metadata",
        ),
        pytest.param({**samples.job(), "metadata": {}}, "metadata.name: Required value", id="no name"),
        pytest.param(samples.job("Tickets"), 'metadata.name: Invalid value: "Tickets"', id="a name in capitals"),
        pytest.param({**samples.job(), "spec": None}, "spec: Required value", id="no spec"),
        pytest.param(
            {**samples.job(), "spec": "x"}, "spec: Invalid value: must be of type object", id="a text as spec"
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(
    item: Object, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = validate(item, tmp_path, capsys)
    assert code == 1
    pattern = ".*".join(re.escape(part) for part in line.split(".*"))
    assert re.search(pattern, text), text


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(samples.job(compute={"device": "cpu", "sharedMemory": 4}), id="a quantity that is a number"),
        pytest.param(samples.job(compute={"device": "cpu", "sharedMemory": "4Gi"}), id="a quantity that is a text"),
        pytest.param(samples.job(automodel={"schedule": {"valCheckInterval": 1}}), id="a whole number for a fraction"),
        pytest.param(
            samples.job(automodel=None) | {"spec": samples.job()["spec"] | {"checkpoints": None}}, id="a null"
        ),
        pytest.param({**samples.job(), "status": {"anything": "goes"}}, id="a status, which is ignored"),
        pytest.param(deployment(replicas=0), id="a deployment that is stopped"),
    ],
)
def test_what_the_apiserver_takes_is_valid(item: Object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(item, tmp_path, capsys) == (0, f"{item['kind']}/{item['metadata']['name']}: valid\n")


def test_rules_see_the_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = validate(samples.job(automodel={"batch": {"microBatchSize": 3}}), tmp_path, capsys)
    assert code == 1
    assert "spec.automodel: Invalid value: batch.globalBatchSize must be a multiple" in text


def test_the_stored_object_has_the_defaults() -> None:
    item = samples.job(automodel={})
    kind = find_kind(item)
    assert kind is not None
    spec = admit(item, kind).item["spec"]
    assert spec["automodel"]["batch"] == {"globalBatchSize": 8, "microBatchSize": 1, "sequencePacking": False}
    assert spec["failurePolicy"] == {"maxAttempts": 3, "hungAfterSeconds": 1800}
    assert spec["suspend"] is False


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.names.kind)
def test_every_rule_of_the_crds_is_understood(kind: Any) -> None:
    rules = [rule for rule in _find_rules(build_crd(kind)) if "oldSelf" not in rule]
    assert rules
    for rule in rules:
        with suppress(EvaluationError):  # an empty object answers few rules; each must compile
            holds(rule, self={})


def _find_rules(node: Any) -> list[str]:
    if isinstance(node, list):
        return [rule for item in node for rule in _find_rules(item)]
    if not isinstance(node, dict):
        return []
    own = [rule["rule"] for rule in node.get("x-kubernetes-validations", ())]
    return own + [rule for item in node.values() for rule in _find_rules(item)]
