"""Keeps an attempt off nodes on which attempts ended, as far as there are others."""

import copy
from collections.abc import Sequence

from customizer_operator.api.base import Object

_WEIGHT = 100
_MOST_NODES = 20


def avoid_nodes(training: Object, nodes: Sequence[str]) -> Object:
    """Returns a PyTorchJob whose pods prefer other nodes.

    Only prefer: a program that crashes wherever it runs must not be left without any node.
    """
    if not nodes:
        return training
    item = copy.deepcopy(training)
    spec = item["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes[:_MOST_NODES]]
    affinity.setdefault("preferredDuringSchedulingIgnoredDuringExecution", []).append(
        {"weight": _WEIGHT, "preference": {"matchFields": fields}}
    )
    return item
