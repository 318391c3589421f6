"""How many servers a ModelDeployment has, where they stand, and how they are replaced."""

from typing import Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_operator.api.common import Quantity


class UpdateStrategy(Model):
    """How replicas are replaced when the spec changes."""

    max_surge: int = Field(1, ge=0, le=100)
    """Replicas beyond spec.replicas while they are replaced: each needs room of its own, GPUs included."""
    max_unavailable: int = Field(0, ge=0, le=100)
    """Replicas that may be missing meanwhile."""

    cel_rules = (
        CelRule(
            "self.maxSurge > 0 || self.maxUnavailable > 0",
            "maxSurge and maxUnavailable cannot both be 0: without room for another replica set maxUnavailable to 1",
        ),
    )


class Autoscaling(Model):
    """A HorizontalPodAutoscaler for the servers."""

    min_replicas: int = Field(1, ge=1, le=1000)
    """Fewest servers."""
    max_replicas: int = Field(ge=1, le=1000)
    """Most servers."""
    metric: str | None = Field(None, pattern="^[A-Za-z_:][A-Za-z0-9_:]*$", max_length=128)
    """A metric of the pods, as the cluster's metrics adapter names it. Default: the engine's share of its cache in use,
    gpu_cache_usage_perc of a NIM and vllm:kv_cache_usage_perc of VLLM."""
    average_value: Quantity = "800m"
    """What the metric should be on average."""
    cpu_utilization: int | None = Field(None, ge=1, le=1000)
    """Percent of the requested CPU, in place of a metric of the engine; for device cpu."""

    cel_rules = (
        CelRule("self.minReplicas <= self.maxReplicas", "minReplicas must not be more than maxReplicas"),
        CelRule("!(has(self.metric) && has(self.cpuUtilization))", "give metric or cpuUtilization, not both"),
    )


class TopologySpread(Model):
    """Spreads the servers evenly, as in a pod."""

    topology_key: str = Field(
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=317
    )
    """Label of the nodes that tells their places: kubernetes.io/hostname, topology.kubernetes.io/zone."""
    max_skew: int = Field(1, ge=1, le=100)
    """Most servers that one place may have more than another."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    """Whether a server waits rather than stands unevenly."""
