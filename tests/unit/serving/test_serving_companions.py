"""What stands beside the servers: made when the spec asks for it, gone when it does not."""

from typing import Any

import pytest

from customizer_operator.plan.plan import (
    AUTOSCALER,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    HTTP_ROUTE,
    INGRESS,
    NETWORK_POLICY,
    POD,
    SERVICE,
    SERVICE_MONITOR,
    Exists,
    Resource,
    Served,
)
from tests.unit.serving.world import ADAPTER, World, build_deployment, condition, publish, served

SELECTOR = {"customizer.dev/model-deployment": "bot", "app.kubernetes.io/component": "server"}
NIM = {"runtime": {"type": "MultiLLM"}}


def scaled(name: str, value: str) -> list[Any]:
    """Returns the metrics of an autoscaler that goes by a metric of the pods."""
    target = {"type": "AverageValue", "averageValue": value}
    return [{"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}]


@pytest.mark.parametrize(
    ("spec", "resource", "expected"),
    [
        pytest.param(
            {},
            DISRUPTION_BUDGET,
            {
                "maxUnavailable": 1,
                "selector": {"matchLabels": SELECTOR},
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
            id="one server at a time may be evicted",
        ),
        pytest.param(
            {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}},
            AUTOSCALER,
            {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "bot"},
                "minReplicas": 2,
                "maxReplicas": 4,
                "metrics": scaled("vllm:kv_cache_usage_perc", "800m"),
            },
            id="an autoscaler by vLLM's cache",
        ),
        pytest.param(
            {"autoscaling": {"maxReplicas": 4, "averageValue": "500m"}, **NIM},
            AUTOSCALER,
            {"minReplicas": 1, "metrics": scaled("gpu_cache_usage_perc", "500m")},
            id="an autoscaler by a NIM's cache",
        ),
        pytest.param(
            {"autoscaling": {"maxReplicas": 4, "metric": "queue_length", "averageValue": "5"}},
            AUTOSCALER,
            {"metrics": scaled("queue_length", "5")},
            id="an autoscaler by another metric",
        ),
        pytest.param(
            {"autoscaling": {"maxReplicas": 4, "cpuUtilization": 70}},
            AUTOSCALER,
            {
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                    }
                ]
            },
            id="an autoscaler by CPU",
        ),
        pytest.param(
            {"service": {"port": 80, "type": "LoadBalancer"}},
            SERVICE,
            {
                "type": "LoadBalancer",
                "selector": SELECTOR,
                "ports": [{"name": "http", "port": 80, "targetPort": "api", "protocol": "TCP"}],
            },
            id="a load balancer",
        ),
        pytest.param(
            {"ingress": {"host": "bot.example.com", "className": "nginx", "tlsSecretName": "cert"}},
            INGRESS,
            {
                "ingressClassName": "nginx",
                "rules": [
                    {
                        "host": "bot.example.com",
                        "http": {
                            "paths": [
                                {
                                    "path": "/",
                                    "pathType": "Prefix",
                                    "backend": {"service": {"name": "bot", "port": {"name": "http"}}},
                                }
                            ]
                        },
                    }
                ],
                "tls": [{"hosts": ["bot.example.com"], "secretName": "cert"}],
            },
            id="an Ingress with TLS",
        ),
        pytest.param(
            {
                "httpRoute": {
                    "gateway": {"name": "edge", "namespace": "infra", "sectionName": "https"},
                    "hostnames": ["bot.example.com"],
                }
            },
            HTTP_ROUTE,
            {
                "parentRefs": [{"name": "edge", "namespace": "infra", "sectionName": "https"}],
                "hostnames": ["bot.example.com"],
                "rules": [{"backendRefs": [{"name": "bot", "port": 8000}]}],
            },
            id="an HTTPRoute",
        ),
        pytest.param(
            {"serviceMonitor": {}},
            SERVICE_MONITOR,
            {
                "selector": {"matchLabels": SELECTOR},
                "endpoints": [{"port": "http", "path": "/metrics", "interval": "30s"}],
            },
            id="vLLM's metrics",
        ),
        pytest.param(
            {"serviceMonitor": {"interval": "5s"}, **NIM},
            SERVICE_MONITOR,
            {"endpoints": [{"port": "http", "path": "/v1/metrics", "interval": "5s"}]},
            id="a NIM's metrics",
        ),
        pytest.param(
            {
                "networkPolicy": {
                    "allowFrom": [{"podLabels": {"app": "web"}}, {"namespaceLabels": {"team": "b"}, "podLabels": {}}]
                }
            },
            NETWORK_POLICY,
            {
                "podSelector": {
                    "matchLabels": {"customizer.dev/model-deployment": "bot"},
                    "matchExpressions": [
                        {"key": "app.kubernetes.io/component", "operator": "In", "values": ["server", "canary"]}
                    ],
                },
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [
                            {
                                "namespaceSelector": {},
                                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "customizer-operator"}},
                            },
                            {"podSelector": {"matchLabels": {"app": "web"}}},
                            {"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {}},
                        ],
                        "ports": [{"port": "api", "protocol": "TCP"}],
                    }
                ],
            },
            id="only who is named, and the operator",
        ),
    ],
)
def test_what_the_spec_asks_for_stands_beside_the_servers(
    spec: dict[str, Any], resource: Resource, expected: dict[str, Any]
) -> None:
    made = served(**spec).get(resource, "bot")
    assert {key: made["spec"][key] for key in expected} == expected
    assert made["metadata"]["ownerReferences"][0]["uid"] == "md-1"


@pytest.mark.parametrize(
    ("member", "value", "resource"),
    [
        ("autoscaling", {"maxReplicas": 2}, AUTOSCALER),
        ("ingress", {"host": "a.b"}, INGRESS),
        ("httpRoute", {"gateway": {"name": "g"}}, HTTP_ROUTE),
        ("serviceMonitor", {}, SERVICE_MONITOR),
        ("networkPolicy", {"allowFrom": []}, NETWORK_POLICY),
    ],
)
def test_what_the_spec_asks_for_no_more_is_deleted(member: str, value: Any, resource: Resource) -> None:
    world = served(**{member: value})
    assert (resource, "bot") in world.objects
    world.change(**{member: None})
    world.settle()
    assert (resource, "bot") not in world.objects
    assert (DISRUPTION_BUDGET, "bot") in world.objects


@pytest.mark.parametrize(
    ("spec", "resource", "words"),
    [
        ({"httpRoute": {"gateway": {"name": "g"}}}, HTTP_ROUTE, "install the Gateway API, or remove spec.httpRoute"),
        ({"serviceMonitor": {}}, SERVICE_MONITOR, "install the Prometheus operator, or remove spec.serviceMonitor"),
    ],
)
def test_a_kind_that_the_cluster_does_not_know_is_told(spec: dict[str, Any], resource: Resource, words: str) -> None:
    world = World(build_deployment(**spec), publish(ADAPTER), ADAPTER)
    world.unknown = {Served(resource)}
    status = world.settle()
    assert condition(status, "Stalled") == ("True", "ResourceUnknown")
    assert words in status["message"]


def test_an_object_of_somebody_else_is_not_taken_over() -> None:
    world = World(build_deployment(ingress={"host": "a.b"}), publish(ADAPTER), ADAPTER)
    world.others = {Exists(INGRESS, "team", "bot"): {"metadata": {"name": "bot"}}}
    assert condition(world.settle(), "Stalled") == ("True", "NameTaken")


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [(3, 3), (9, 4), (1, 2)],
    ids=["its choice is kept", "not above the most", "nor below the least"],
)
def test_an_autoscaler_says_how_many_servers_there_are(chosen: int, kept: int) -> None:
    world = served(autoscaling={"minReplicas": 2, "maxReplicas": 4})
    deployment = world.get(DEPLOYMENT, "bot")
    assert deployment["spec"]["replicas"] == 2
    world.objects[DEPLOYMENT, "bot"] = {**deployment, "spec": {**deployment["spec"], "replicas": chosen}}
    status = world.settle()
    assert world.get(DEPLOYMENT, "bot")["spec"]["replicas"] == kept
    assert (status["state"], status["readyReplicas"]) == ("Ready", kept)


def test_a_suspended_deployment_has_no_servers_until_it_goes_on() -> None:
    world = served(autoscaling={"minReplicas": 2, "maxReplicas": 4})
    world.change(suspend=True)
    assert world.settle()["state"] == "Stopped"
    assert world.get(DEPLOYMENT, "bot")["spec"]["replicas"] == 0
    world.change(suspend=False)
    assert world.settle()["readyReplicas"] == 2


def test_servers_are_spread_and_replaced_as_asked() -> None:
    world = served(
        topologySpread=[{"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}],
        updateStrategy={"maxSurge": 0, "maxUnavailable": 1},
    )
    spec = world.get(DEPLOYMENT, "bot")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert spec["minReadySeconds"] > 0
    assert spec["template"]["spec"]["topologySpreadConstraints"] == [
        {
            "topologyKey": "topology.kubernetes.io/zone",
            "maxSkew": 1,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": SELECTOR},
            "matchLabelKeys": ["pod-template-hash"],
        }
    ]


@pytest.mark.parametrize(
    "owners",
    [
        pytest.param([], id="no owner"),
        pytest.param([{"kind": "ReplicaSet", "name": "other-1", "uid": "x", "controller": True}], id="another owner"),
    ],
)
def test_a_pod_that_only_bears_the_labels_is_not_counted(owners: list[Any]) -> None:
    world = served()
    stranger = world.get(POD, "bot-0")
    metadata = {**stranger["metadata"], "name": "stranger", "uid": "s", "ownerReferences": owners}
    crash = {"exitCode": 1, "reason": "Error", "message": "no"}
    status = {"containerStatuses": [{"name": "server", "restartCount": 9, "state": {"terminated": crash}}]}
    world.objects[POD, "stranger"] = {**stranger, "metadata": metadata, "status": status}
    told = world.settle()
    assert (told["state"], told["readyReplicas"]) == ("Ready", 1)
