"""Who reaches the servers of a ModelDeployment, and on which way."""

from typing import Annotated, Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_operator.api.common import Name

Text = Annotated[str, Field(max_length=4096)]
Labels = Annotated[dict[str, Text], Field(max_length=32)]
"""Labels or annotations."""
HostName = Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]
"""A name in DNS."""


class Service(Model):
    """The Service in front of the replicas."""

    port: int = Field(8000, ge=1, le=65535)
    """Its port."""
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """From where it is reached: within the cluster, at every node, by a load balancer."""
    annotations: Labels | None = None
    """Annotations for what makes the load balancer."""


class Ingress(Model):
    """An Ingress to the Service."""

    host: HostName
    """Name under which the model answers; all paths go to it."""
    class_name: Name | None = None
    """The IngressClass. Default: that of the cluster."""
    tls_secret_name: Name | None = None
    """A Secret with the certificate of the host. Default: no TLS."""
    annotations: Labels | None = None
    """Annotations for the controller: timeouts for long answers, above all."""


class Gateway(Model):
    """A Gateway that takes an HTTPRoute."""

    name: Name
    """Name of the Gateway."""
    namespace: Name | None = None
    """Its namespace. Default: that of the deployment."""
    section_name: Name | None = None
    """One listener of it. Default: all that fit."""


class HttpRoute(Model):
    """An HTTPRoute of the Gateway API to the Service."""

    gateway: Gateway
    """The Gateway that it is attached to."""
    hostnames: list[HostName] | None = Field(None, max_length=16)
    """Names under which the model answers. Default: those of the Gateway."""


class ServiceMonitor(Model):
    """A ServiceMonitor of the Prometheus operator: the engine's metrics of every replica."""

    labels: Labels | None = None
    """Labels by which a Prometheus chooses it."""
    interval: str = Field("30s", pattern="^[0-9]+(ms|s|m)$", max_length=16)
    """How often the metrics are read."""


class Peer(Model):
    """Pods that may connect."""

    namespace_labels: Labels | None = None
    """Labels of their namespace. Default: the deployment's namespace."""
    pod_labels: Labels | None = None
    """Labels of the pods. Default: every pod there."""

    cel_rules = (
        CelRule(
            "has(self.namespaceLabels) || has(self.podLabels)",
            "give namespaceLabels, podLabels or both; {} as podLabels means every pod of the namespace",
        ),
    )


class NetworkPolicy(Model):
    """A NetworkPolicy: only the listed pods, the operator and the kubelet reach the servers."""

    allow_from: list[Peer] = Field(max_length=32)
    """Who may connect: clients, the ingress controller or Gateway, Prometheus. Empty: the operator alone."""
