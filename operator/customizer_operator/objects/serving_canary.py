"""A canary: one server of another version, beside those that answer requests."""

from customizer_operator.api.base import Object
from customizer_operator.objects.names import COMPONENT_LABEL
from customizer_operator.objects.serving import VERSION_ANNOTATION, find_version
from customizer_operator.objects.serving_pods import CANARY


def canary_name(name: str) -> str:
    """Name of the Deployment of a canary."""
    return f"{name}-canary"


def build_canary(servers: Object) -> Object:
    """Builds a Deployment of one server like `servers`, under labels that no Service selects."""
    metadata, spec = servers["metadata"], servers["spec"]
    template = spec["template"]
    version = {VERSION_ANNOTATION: find_version(servers)}
    # It stands alone, so that there is nothing to spread it from.
    pod = {key: value for key, value in template["spec"].items() if key != "topologySpreadConstraints"}
    # Nobody's requests are cut when it goes.
    pod["containers"] = [
        {key: value for key, value in server.items() if key != "lifecycle"} for server in pod["containers"]
    ]
    return {
        **servers,
        "metadata": {
            **metadata,
            "name": canary_name(metadata["name"]),
            "labels": _relabel(metadata["labels"]),
            "annotations": version,
        },
        "spec": {
            **spec,
            "replicas": 1,
            # Another candidate must not wait for room beside the one that it comes instead of.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _relabel(spec["selector"]["matchLabels"])},
            "template": {
                "metadata": {
                    "labels": _relabel(template["metadata"]["labels"]),
                    # Tells its pods from those of a candidate before, which may still be on their way out.
                    "annotations": template["metadata"]["annotations"] | version,
                },
                "spec": pod,
            },
        },
    }


def find_pod_version(pod: Object) -> str | None:
    """Returns the version of a canary's pod."""
    annotations: dict[str, str] = pod["metadata"].get("annotations") or {}
    return annotations.get(VERSION_ANNOTATION)


def _relabel(labels: dict[str, str]) -> dict[str, str]:
    return {**labels, COMPONENT_LABEL: CANARY}
