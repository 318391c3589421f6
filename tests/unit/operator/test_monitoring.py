"""The alerts and monitors that can be installed: they parse, and what they name is there."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import Metric

from customizer_contract.progress import PROGRESS_PORT
from customizer_operator.api.base import JOB_LABEL
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.cache import Cache
from customizer_operator.kinds import build_kinds
from customizer_operator.metrics import Metrics
from customizer_operator.objects.names import REPLICA_INDEX_LABEL
from customizer_operator.objects.training import build_training
from customizer_trainer.training.server import ProgressServer
from customizer_trainer.training.state import Training
from tests.support import samples
from tests.unit.operator.simulator import SETTINGS
from tests.unit.operator.test_manifests import load

FOLDER = Path(__file__).parents[3] / "manifests/overlays/monitoring"


def read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


MONITORS = {item["kind"]: item["spec"] for item in read("monitors.yaml")}
RULES = {rule["alert"]: rule for group in read("rules.yaml")[0]["spec"]["groups"] for rule in group["rules"]}


@pytest.fixture(scope="module")
def series() -> dict[str, set[str]]:
    """Every series that the operator and rank 0 serve, with its labels."""
    operator = Metrics(Cache(), build_kinds(SETTINGS), lambda: 0)
    server = ProgressServer(0, Training.begin(2, total_steps=10, resumed_from=3, now=datetime.now(UTC)))
    server.close()
    served: list[Metric] = [*operator.registry.collect(), *server._registry.collect()]
    known = {sample.name: set(sample.labels) for metric in served for sample in metric.samples}
    # What has no sample before something has happened.
    for counter in (operator.reconciles, operator.errors, operator.attempts, operator.gpu_seconds):
        known[f"{counter._name}_total"] = set(counter._labelnames)
    return {**known, "customizer_objects": {"kind", "state"}}


def find_selectors(node: Any) -> Iterator[Any]:
    """Yields the selectors of an expression."""
    match type(node).__name__:
        case "VectorSelector":
            yield node
        case "MatrixSelector":
            yield node.vector_selector
        case "BinaryExpr":
            yield from find_selectors(node.lhs)
            yield from find_selectors(node.rhs)
        case "AggregateExpr" | "ParenExpr" | "UnaryExpr" | "SubqueryExpr":
            yield from find_selectors(node.expr)
        case "Call":
            for argument in node.args:
                yield from find_selectors(argument)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_an_alert_asks_for_series_that_there_are_and_says_what_to_do(
    rule: dict[str, Any], series: dict[str, set[str]]
) -> None:
    selectors = list(find_selectors(promql_parser.parse(rule["expr"])))
    assert selectors
    for selector in selectors:
        assert selector.name in series
        assert {matcher.name for matcher in selector.matchers.matchers} <= series[selector.name]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["description"]) > 40


def test_the_operator_is_scraped_by_its_service() -> None:
    monitor, service = MONITORS["ServiceMonitor"], load("Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]


def test_of_a_training_the_pod_is_scraped_that_serves_its_progress() -> None:
    metadata = {"name": "tickets", "namespace": "team", "uid": "u"}
    job = CustomizationJob.model_validate({**samples.job(), "metadata": metadata})
    template = build_training(job, SETTINGS.images, 1)["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    monitor = MONITORS["PodMonitor"]
    labels = {**template["metadata"]["labels"], REPLICA_INDEX_LABEL: "0"}
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert [entry["key"] for entry in monitor["selector"]["matchExpressions"]] == [JOB_LABEL]
    assert monitor["podTargetLabels"] == [JOB_LABEL]
    ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    assert ports[monitor["podMetricsEndpoints"][0]["port"]] == PROGRESS_PORT


def test_every_file_is_part_of_the_component() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in FOLDER.glob("*.yaml")} == {"kustomization.yaml", *listed}
