"""What a decision is made of: the observation that goes in and the plan that comes out, the same for both kinds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from customizer_operator.api.base import Object


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the Kubernetes API."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """Returns `group/version`, or `version` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
NODE = Resource("", "v1", "nodes", "Node")
POD = Resource("", "v1", "pods", "Pod")
SERVICE = Resource("", "v1", "services", "Service")
JOB = Resource("batch", "v1", "jobs", "Job")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
POD_GROUP = Resource("scheduling.volcano.sh", "v1beta1", "podgroups", "PodGroup")
LOCAL_QUEUE = Resource("kueue.x-k8s.io", "v1beta2", "localqueues", "LocalQueue")
WORKLOAD = Resource("kueue.x-k8s.io", "v1beta2", "workloads", "Workload")
PYTORCH_JOB = Resource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")
DISRUPTION_BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
AUTOSCALER = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
INGRESS = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
NETWORK_POLICY = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
HTTP_ROUTE = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
SERVICE_MONITOR = Resource("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor")
NIM_SERVICE = Resource("apps.nvidia.com", "v1alpha1", "nimservices", "NIMService")
CUSTOMIZATION_JOB = Resource("customizer.dev", "v1alpha1", "customizationjobs", "CustomizationJob")
MODEL_DEPLOYMENT = Resource("customizer.dev", "v1alpha1", "modeldeployments", "ModelDeployment")

RESOURCES = (
    CONFIG_MAP,
    POD,
    SERVICE,
    JOB,
    DEPLOYMENT,
    POD_GROUP,
    DISRUPTION_BUDGET,
    AUTOSCALER,
    INGRESS,
    NETWORK_POLICY,
    HTTP_ROUTE,
    SERVICE_MONITOR,
    NIM_SERVICE,
    PYTORCH_JOB,
    CUSTOMIZATION_JOB,
    MODEL_DEPLOYMENT,
)


def find_resource(item: Object) -> Resource:
    """Returns the resource of an object that names its apiVersion and kind."""
    return next(r for r in RESOURCES if (r.api_version, r.kind) == (item["apiVersion"], item["kind"]))


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One object of ours: what the reconciler handles."""

    plural: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Reference:
    """An object to delete. The uid guards against deleting a successor of the same name."""

    resource: Resource
    namespace: str
    name: str
    uid: str


def refer_to(resource: Resource, item: Object) -> Reference:
    """Returns the reference to an object."""
    metadata = item["metadata"]
    return Reference(resource, metadata["namespace"], metadata["name"], metadata["uid"])


@dataclass(frozen=True, slots=True)
class Annotation:
    """An annotation for a pod that runs. The uid guards against a successor of the same name."""

    namespace: str
    pod: str
    uid: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes event on the subject. The same one is written once, as long as the apiserver keeps it."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    occasion: str
    """Tells occurrences apart (an attempt's number, a generation): one event each."""


@dataclass(frozen=True, slots=True)
class EventsOf:
    """Asks for the messages of the Kubernetes events about an object. Answer: list of `Object`, newest last."""

    namespace: str
    uid: str


@dataclass(frozen=True, slots=True)
class HttpGet:
    """Asks a pod by HTTP. Answer: the parsed JSON body of a 200, else None; an answer is reused for `max_age`."""

    url: str
    max_age_seconds: float = 10


@dataclass(frozen=True, slots=True)
class Served:
    """Asks whether the cluster knows a resource. Answer: bool."""

    resource: Resource


@dataclass(frozen=True, slots=True)
class Exists:
    """Asks whether an object of any owner has a name. Answer: the `Object` or None.

    One that was found is not asked for again within `max_age_seconds`.
    """

    resource: Resource
    namespace: str
    name: str
    max_age_seconds: float = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class LogOf:
    """Asks for the last lines of a container's log. Answer: text, None when there is none to be had."""

    namespace: str
    pod: str
    container: str


@dataclass(frozen=True, slots=True)
class NodeLabels:
    """Asks for the labels of all nodes. Answer: by node; reused for a minute."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Asks for the objects with a label. Answer: list of `Object`, None when the cluster does not know the resource."""

    resource: Resource
    namespace: str
    selector: str


@dataclass(frozen=True, slots=True)
class PendingWorkloads:
    """Asks Kueue what waits in a LocalQueue. Answer: list of `Object` in order, None when it does not tell."""

    namespace: str
    queue: str


Question = EventsOf | HttpGet | Served | Exists | LogOf | NodeLabels | Listed | PendingWorkloads
"""What a decision needs beyond the caches."""


@dataclass(frozen=True, slots=True)
class Observed:
    """All that a decision may know. Objects are as the API returns them."""

    subject: Object
    children: Mapping[Resource, tuple[Object, ...]]
    """By resource: the objects that carry the subject's label; pods included. In the order of their names."""
    referenced: Mapping[tuple[Resource, str], Object]
    """By resource and name: the objects of ours that the subject names and that exist."""
    now: datetime
    answers: Mapping[Question, object] = field(default_factory=dict)
    refusal: str | None = None
    """What the apiserver said when it refused an object that was just planned."""

    def with_answers(self, answers: Mapping[Question, object]) -> "Observed":
        """Returns the same with what was asked for."""
        return replace(self, answers=answers)

    def with_refusal(self, message: str) -> "Observed":
        """Returns the same, knowing that the apiserver refuses what is planned from it."""
        return replace(self, refusal=message)

    def of(self, resource: Resource) -> tuple[Object, ...]:
        """Returns the children of a resource."""
        return self.children.get(resource, ())

    def named(self, resource: Resource, name: str) -> Object | None:
        """Returns the child of that name."""
        return next((child for child in self.of(resource) if child["metadata"]["name"] == name), None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. Carried out in the order of the fields; each effect may be repeated without harm."""

    create: tuple[Object, ...] = ()
    """Objects made once; one that is there already is left as it is."""
    apply: tuple[Object, ...] = ()
    """Objects that must be as given: server-side applied when they differ."""
    annotate: tuple[Annotation, ...] = ()
    """What running pods are told; they read it without a restart."""
    delete: tuple[Reference, ...] = ()
    events: tuple[Event, ...] = ()
    status: Object | None = None
    """The whole status as JSON, null members absent; None leaves it as it is."""
    requeue_after: float | None = None
    """Seconds until the next look when nothing happens before."""

    def only_told(self) -> "Plan":
        """Returns the events and the status alone."""
        return replace(self, create=(), apply=(), annotate=(), delete=())
