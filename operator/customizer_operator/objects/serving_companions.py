"""What stands beside the servers of a ModelDeployment: who may take them away, scale them, reach and measure them."""

from customizer_contract.adapters import SIDECAR_PORT
from customizer_operator.api.base import DEPLOYMENT_LABEL, Object
from customizer_operator.api.model_access import HttpRoute, Ingress, NetworkPolicy, Peer, ServiceMonitor
from customizer_operator.api.model_deployment import ModelDeployment
from customizer_operator.api.model_scaling import Autoscaling
from customizer_operator.objects.names import COMPONENT_LABEL
from customizer_operator.objects.serving_pods import CANARY, SERVER, build_metadata
from customizer_operator.objects.serving_sidecar import needs_sidecar

PORT_NAME = "api"
"""Name of the server's port in its pods."""
SERVICE_PORT_NAME = "http"

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""The apiserver sets it on every namespace, so that nobody can claim another's."""
_OPERATOR = {"app.kubernetes.io/name": "customizer-operator"}
_NIM_METRIC = "gpu_cache_usage_perc"
_VLLM_METRIC = "vllm:kv_cache_usage_perc"


def build_selector(deployment: ModelDeployment) -> dict[str, str]:
    """Returns the labels by which the servers' pods are found."""
    return {DEPLOYMENT_LABEL: deployment.metadata.name, COMPONENT_LABEL: SERVER}


def build_surroundings(deployment: ModelDeployment, operator_namespace: str | None = None) -> list[Object]:
    """Builds what stands in front of the servers and beside them, whatever they serve.

    NVIDIA's operator makes the Service of a NIMService by itself.
    """
    companions = build_companions(deployment, operator_namespace)
    return companions if deployment.spec.backend == "NIMService" else [_build_service(deployment), *companions]


def _build_service(deployment: ModelDeployment) -> Object:
    wanted = deployment.spec.service
    port: Object = {"name": SERVICE_PORT_NAME, "port": wanted.port, "targetPort": PORT_NAME, "protocol": "TCP"}
    spec: Object = {"type": wanted.type, "selector": build_selector(deployment), "ports": [port]}
    return _annotate(_build(deployment, "v1", "Service", spec), wanted.annotations)


def build_companions(deployment: ModelDeployment, operator_namespace: str | None = None) -> list[Object]:
    """Builds all that the spec asks for beside Deployment and Service.

    `operator_namespace` is where the operator runs, who asks the servers; None: it may be anywhere.
    """
    spec = deployment.spec
    return [
        _build_disruption_budget(deployment),
        *([_build_autoscaler(deployment, spec.autoscaling)] if spec.autoscaling else []),
        *([_build_ingress(deployment, spec.ingress)] if spec.ingress else []),
        *([_build_route(deployment, spec.http_route)] if spec.http_route else []),
        *([_build_monitor(deployment, spec.service_monitor)] if spec.service_monitor else []),
        *([_build_network_policy(deployment, spec.network_policy, operator_namespace)] if spec.network_policy else []),
    ]


def _build_disruption_budget(deployment: ModelDeployment) -> Object:
    """One server at a time may be taken off its node; one that does not answer anyway always."""
    spec: Object = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": build_selector(deployment)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return _build(deployment, "policy/v1", "PodDisruptionBudget", spec)


def _build_autoscaler(deployment: ModelDeployment, scaling: Autoscaling) -> Object:
    if scaling.cpu_utilization is not None:
        target: Object = {"type": "Utilization", "averageUtilization": scaling.cpu_utilization}
        metric: Object = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    else:
        name = scaling.metric or (_VLLM_METRIC if deployment.spec.runtime.type == "VLLM" else _NIM_METRIC)
        target = {"type": "AverageValue", "averageValue": scaling.average_value}
        metric = {"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}
    spec: Object = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.metadata.name},
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": [metric],
    }
    return _build(deployment, "autoscaling/v2", "HorizontalPodAutoscaler", spec)


def _build_ingress(deployment: ModelDeployment, ingress: Ingress) -> Object:
    backend: Object = {"service": {"name": deployment.metadata.name, "port": {"name": SERVICE_PORT_NAME}}}
    path: Object = {"path": "/", "pathType": "Prefix", "backend": backend}
    spec: Object = {
        **({"ingressClassName": ingress.class_name} if ingress.class_name else {}),
        "rules": [{"host": ingress.host, "http": {"paths": [path]}}],
        **(
            {"tls": [{"hosts": [ingress.host], "secretName": ingress.tls_secret_name}]}
            if ingress.tls_secret_name
            else {}
        ),
    }
    item = _build(deployment, "networking.k8s.io/v1", "Ingress", spec)
    return _annotate(item, ingress.annotations)


def _build_route(deployment: ModelDeployment, route: HttpRoute) -> Object:
    backend: Object = {"name": deployment.metadata.name, "port": deployment.spec.service.port}
    spec: Object = {
        "parentRefs": [route.gateway.model_dump(by_alias=True, exclude_none=True)],
        **({"hostnames": list(route.hostnames)} if route.hostnames else {}),
        "rules": [{"backendRefs": [backend]}],
    }
    return _build(deployment, "gateway.networking.k8s.io/v1", "HTTPRoute", spec)


def _build_monitor(deployment: ModelDeployment, monitor: ServiceMonitor) -> Object:
    path = "/metrics" if deployment.spec.runtime.type == "VLLM" else "/v1/metrics"
    spec: Object = {
        "selector": {"matchLabels": build_selector(deployment)},
        "endpoints": [{"port": SERVICE_PORT_NAME, "path": path, "interval": monitor.interval}],
    }
    item = _build(deployment, "monitoring.coreos.com/v1", "ServiceMonitor", spec)
    item["metadata"]["labels"] = {**(monitor.labels or {}), **item["metadata"]["labels"]}
    return item


def _build_network_policy(deployment: ModelDeployment, policy: NetworkPolicy, operator_namespace: str | None) -> Object:
    home: Object = {"matchLabels": {NAMESPACE_LABEL: operator_namespace}} if operator_namespace else {}
    peers: list[Object] = [
        {"namespaceSelector": home, "podSelector": {"matchLabels": _OPERATOR}},
        *(_build_peer(peer) for peer in policy.allow_from),
    ]
    rules: list[Object] = [{"from": peers, "ports": [{"port": PORT_NAME, "protocol": "TCP"}]}]
    if needs_sidecar(deployment):
        rules.append({"from": peers[:1], "ports": [{"port": SIDECAR_PORT, "protocol": "TCP"}]})
    spec: Object = {
        "podSelector": _build_pod_selector(deployment),
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }
    return _build(deployment, "networking.k8s.io/v1", "NetworkPolicy", spec)


def _build_pod_selector(deployment: ModelDeployment) -> Object:
    """Means the servers, and a canary as well."""
    component: Object = {"key": COMPONENT_LABEL, "operator": "In", "values": [SERVER, CANARY]}
    return {"matchLabels": {DEPLOYMENT_LABEL: deployment.metadata.name}, "matchExpressions": [component]}


def _build_peer(peer: Peer) -> Object:
    return {
        **({"namespaceSelector": {"matchLabels": peer.namespace_labels}} if peer.namespace_labels else {}),
        "podSelector": {"matchLabels": peer.pod_labels} if peer.pod_labels else {},
    }


def _build(deployment: ModelDeployment, api_version: str, kind: str, spec: Object) -> Object:
    metadata = build_metadata(deployment, deployment.metadata.name, SERVER)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


def _annotate(item: Object, annotations: dict[str, str] | None) -> Object:
    if annotations:
        item["metadata"]["annotations"] = dict(annotations)
    return item
