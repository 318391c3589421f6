"""operator/SERVING.md: its field tables are those of the schema."""

from pathlib import Path

import pytest

from customizer_contract.base import Model
from customizer_operator.api.model_access import HttpRoute, Ingress, NetworkPolicy, Service, ServiceMonitor
from customizer_operator.api.model_adapters import Adapter
from customizer_operator.api.model_deployment import FollowedJob, ServingSettings
from customizer_operator.api.model_evaluation import Evaluation, Rollout
from customizer_operator.api.model_probe import Probe
from customizer_operator.api.model_runtime import Lora, Runtime
from customizer_operator.api.model_scaling import Autoscaling, TopologySpread, UpdateStrategy

DOCUMENT = Path(__file__).parents[3] / "operator" / "SERVING.md"
TABLES: dict[str, type[Model]] = {
    "spec": ServingSettings,
    "spec.model.customizationJobRef": FollowedJob,
    "spec.runtime": Runtime,
    "spec.runtime.lora": Lora,
    "spec.adapters[]": Adapter,
    "spec.probe": Probe,
    "spec.evaluation": Evaluation,
    "spec.rollout": Rollout,
    "spec.autoscaling": Autoscaling,
    "spec.updateStrategy": UpdateStrategy,
    "spec.topologySpread[]": TopologySpread,
    "spec.service": Service,
    "spec.ingress": Ingress,
    "spec.httpRoute": HttpRoute,
    "spec.serviceMonitor": ServiceMonitor,
    "spec.networkPolicy": NetworkPolicy,
}


def build_table(path: str, model: type[Model]) -> str:
    """Writes the fields of a part of the spec as a table."""
    rows = [f"| field of `{path}` | what it is |", "|---|---|"]
    for name, field in model.model_fields.items():
        text = " ".join((field.description or "").split()).replace("|", "\\|")
        rows.append(f"| `{field.alias or name}` | {text} |")
    return "\n".join(rows)


@pytest.mark.parametrize("path", TABLES)
def test_the_document_has_every_field(path: str) -> None:
    table = build_table(path, TABLES[path])
    assert table in DOCUMENT.read_text(), f"put this into {DOCUMENT}:\n{table}"
