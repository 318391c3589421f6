"""Placement at scale: the real scheduler and the real Kueue on 512 simulated nodes, with our hints and without.

Nodes and pods are objects without machines behind them; this module plays the training-operator, which makes the pods
of what Kueue admits, and ends jobs when nothing moves, so that the next ones find gaps rather than an empty cluster.
"""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from customizer_operator.api.base import Object
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.api.scheduling import Topology
from customizer_operator.objects.images import Images
from customizer_operator.objects.training import build_training
from customizer_operator.plan.placement import find_granted, find_groups, find_mesh
from tests.api.control_plane import ADMIN_TOKEN, ApiRefusedError, ControlPlane
from tests.bench.certificates import mount_certificates
from tests.cluster.builds import KUEUE, TRAINING_OPERATOR, build_upstream, module_folder
from tests.support import samples

NODES, GPUS, DOMAIN, BLOCK = 512, 8, 4, 32
JOBS = 200
FAST_LABEL, BLOCK_LABEL, HOST_LABEL = "bench/fast", "bench/block", "kubernetes.io/hostname"
TOPOLOGY = {"fastDomainLabel": FAST_LABEL, "blockLabel": BLOCK_LABEL, "allowTensorParallelAcrossNodes": True}
MESHES = (
    {"numNodes": 1, "tensorParallelSize": 8},
    {"numNodes": 3},
    {"numNodes": 2, "tensorParallelSize": 16},
    {"numNodes": 4, "tensorParallelSize": 16},
    {"numNodes": 8, "tensorParallelSize": 8},
    {"numNodes": 4, "tensorParallelSize": 8, "contextParallelSize": 2},
    {"numNodes": 8, "tensorParallelSize": 8, "contextParallelSize": 4},
    {"numNodes": 8, "tensorParallelSize": 8, "pipelineParallelSize": 2},
    {"numNodes": 16, "tensorParallelSize": 8, "pipelineParallelSize": 2, "contextParallelSize": 2},
    {"numNodes": 16, "dataParallelReplicateSize": 2},
)
_POOL_LABEL = "bench/pool"
_NAMESPACE = "/namespaces/default"
_PODS, _NODES = f"/api/v1{_NAMESPACE}/pods", "/api/v1/nodes"
_TRAINING_JOBS = f"/apis/kubeflow.org/v1{_NAMESPACE}/pytorchjobs"
_QUEUES = "/apis/kueue.x-k8s.io/v1beta2"
_INDEX_LABEL = "training.kubeflow.org/replica-index"
_PATIENCE = 4.0
"""Seconds without a new placement after which jobs end."""
_GIVE_UP = 1200.0
_IMAGES = Images(io="io", automodel="automodel", unsloth="unsloth")


@dataclass
class Run:
    """One job on its way."""

    job: CustomizationJob
    pods: int = 0
    """Pods made; 0 before it is admitted, and after it gave its nodes back."""
    nodes: list[str] = field(default_factory=list)
    """By rank, once all are placed."""
    ended: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of all jobs."""

    seconds: float
    released: int
    crossing: Counter[str]
    groups: Counter[str]


def bench(hints: bool, count: int = JOBS) -> Outcome:
    """Places all jobs, through Kueue with our hints or by the scheduler alone, and measures where they came to lie."""
    kueue = build_upstream(KUEUE) if hints else None
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ControlPlane(Path(name)) as plane:
        plane.install(module_folder(TRAINING_OPERATOR) / "manifests/base/crds/kubeflow.org_pytorchjobs.yaml")
        labels = _make_nodes(plane)
        kubeconfig = str(plane.write_kubeconfig(plane.folder / "kubeconfig", ADMIN_TOKEN))
        plane.start(
            "kube-scheduler",
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )
        if kueue is not None:
            _start_kueue(plane, kueue, kubeconfig)
        return _Simulation(plane, build_jobs(hints, count)).run(labels)


def build_jobs(hints: bool, count: int) -> list[CustomizationJob]:
    """Builds the same jobs each time."""
    chance = random.Random(1)
    scheduling = {"queue": "bench", "topology": TOPOLOGY} if hints else {}
    jobs = []
    for number in range(count):
        spread = {"numGpusPerNode": GPUS, **chance.choice(MESHES)}
        item = samples.job(f"job-{number}", automodel={"parallelism": spread}, compute={}, scheduling=scheduling)
        metadata = {**item["metadata"], "namespace": "default", "uid": f"uid-{number}"}
        jobs.append(CustomizationJob.model_validate({"metadata": metadata, "spec": item["spec"]}))
    return jobs


class _Simulation:
    """Plays the training-operator and the passing of time."""

    def __init__(self, plane: ControlPlane, jobs: list[CustomizationJob]) -> None:
        self._plane = plane
        self._runs = {f"{job.metadata.name}-a1": Run(job) for job in jobs}
        self._released = 0

    def run(self, labels: dict[str, dict[str, str]]) -> Outcome:
        """Runs until every job has been placed once."""
        started = moved = time.monotonic()
        _in_parallel(self._create, self._runs.values())
        while any(not run.nodes for run in self._runs.values()):
            if time.monotonic() - started > _GIVE_UP:
                raise TimeoutError(f"{sum(bool(run.nodes) for run in self._runs.values())} jobs were placed")
            if self._make_pods() + self._find_placed() > 0:
                moved = time.monotonic()
            elif time.monotonic() - moved > _PATIENCE:
                self._make_room()
                moved = time.monotonic()
            time.sleep(0.5)
        return self._measure(time.monotonic() - started, labels)

    def _create(self, run: Run) -> None:
        item = build_training(run.job, _IMAGES, 1)
        # No garbage collector runs here.
        del item["metadata"]["ownerReferences"]
        self._plane.call("POST", _TRAINING_JOBS, item)

    def _make_pods(self) -> int:
        """Makes the pods of the jobs that are not held back."""
        due = []
        for item in self._plane.call("GET", _TRAINING_JOBS)["items"]:
            run = self._runs[item["metadata"]["name"]]
            if run.pods == 0 and not run.ended and not item["spec"]["runPolicy"].get("suspend"):
                worker = item["spec"]["pytorchReplicaSpecs"]["Worker"]
                run.pods = worker["replicas"]
                due += [_build_pod(item, worker["template"], index) for index in range(run.pods)]
        _in_parallel(lambda pod: self._plane.call("POST", _PODS, pod), due)
        return len(due)

    def _find_placed(self) -> int:
        """Notes the nodes of the jobs whose pods all have one."""
        places: dict[str, dict[int, str]] = {}
        for pod in self._plane.call("GET", _PODS)["items"]:
            if node := pod["spec"].get("nodeName"):
                owner = pod["metadata"]["name"].rpartition("-worker-")[0]
                places.setdefault(owner, {})[int(pod["metadata"]["labels"][_INDEX_LABEL])] = node
        found = 0
        for name, nodes in places.items():
            run = self._runs[name]
            if not run.nodes and len(nodes) == run.pods:
                run.nodes = [nodes[rank] for rank in sorted(nodes)]
                found += 1
        return found

    def _make_room(self) -> None:
        """Ends the oldest jobs; where none runs, a half-placed one gives its nodes back."""
        running = [name for name, run in self._runs.items() if run.nodes and not run.ended]
        if running:
            _in_parallel(self._end, running[: max(1, len(running) // 4)])
            return
        half = [name for name, run in self._runs.items() if run.pods and not run.nodes]
        if half:
            self._released += 1
            self._delete_pods(half[-1])
            self._runs[half[-1]].pods = 0

    def _end(self, name: str) -> None:
        self._runs[name].ended = True
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        condition = {"type": "Succeeded", "status": "True", "reason": "Ended", "message": "", "lastTransitionTime": now}
        status = {"status": {"conditions": [condition], "replicaStatuses": {}}}
        self._plane.call("PATCH", f"{_TRAINING_JOBS}/{name}/status", status, "application/merge-patch+json")
        self._delete_pods(name)

    def _delete_pods(self, name: str) -> None:
        for index in range(self._runs[name].pods):
            try:
                self._plane.call("DELETE", f"{_PODS}/{name}-worker-{index}?gracePeriodSeconds=0")
            except ApiRefusedError as error:
                if error.status != 404:
                    raise

    def _measure(self, seconds: float, labels: dict[str, dict[str, str]]) -> Outcome:
        """Counts the groups, and those that left the domain that we ask for, whether it was asked for or not."""
        groups: Counter[str] = Counter()
        crossing: Counter[str] = Counter()
        for run in self._runs.values():
            outline = run.job.spec.outline
            if outline is None:
                continue
            for group in find_groups(find_mesh(outline), Topology.model_validate(TOPOLOGY)):
                for granted in find_granted(group, run.nodes, labels):
                    kind = f"{group.parallelism} in {group.domain}"
                    groups[kind] += 1
                    crossing[kind] += len(granted.domains) > 1
        return Outcome(seconds, self._released, crossing, groups)


def _build_pod(job: Object, template: Object, index: int) -> Object:
    name = job["metadata"]["name"]
    metadata = template["metadata"]
    owner = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": name, "uid": job["metadata"]["uid"]}
    training = {"job-name": name, "replica-type": "worker", "replica-index": str(index)}
    labels = {**metadata["labels"], **{f"training.kubeflow.org/{key}": value for key, value in training.items()}}
    return {
        "metadata": {
            "name": f"{name}-worker-{index}",
            "labels": labels,
            "annotations": metadata.get("annotations", {}),
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": {**template["spec"], "restartPolicy": "Never"},
    }


def _make_nodes(plane: ControlPlane) -> dict[str, dict[str, str]]:
    """Makes the nodes in blocks and fast domains, in no order that a scheduler could profit from."""
    names = [f"node-{number:03}" for number in range(NODES)]
    random.Random(0).shuffle(names)
    labels = {
        name: {
            HOST_LABEL: name,
            FAST_LABEL: f"fast-{place // DOMAIN}",
            BLOCK_LABEL: f"block-{place // BLOCK}",
            _POOL_LABEL: "bench",
        }
        for place, name in enumerate(names)
    }
    room = {"nvidia.com/gpu": str(GPUS), "cpu": "128", "memory": "2Ti", "pods": "110", "ephemeral-storage": "8Ti"}
    ready = {"type": "Ready", "status": "True", "reason": "Simulated", "message": ""}

    def make(name: str) -> None:
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        plane.call("POST", _NODES, {"metadata": {"name": name, "labels": labels[name]}, "status": status})
        # The apiserver taints every new node until somebody says that it is ready.
        plane.call("PATCH", f"{_NODES}/{name}", {"spec": {"taints": None}}, "application/merge-patch+json")

    _in_parallel(make, names)
    return labels


def _start_kueue(plane: ControlPlane, programs: Path, kubeconfig: str) -> None:
    """Starts Kueue as a process. Its webhooks are left out: the objects here are complete and right."""
    plane.kubectl("create", "namespace", "kueue-system")
    plane.kubectl("apply", "--server-side", "-k", str(module_folder(KUEUE) / "config/components/crd"))
    plane.wait_for_crds()
    plane.kubectl("create", "secret", "generic", "kueue-webhook-server-cert", "--namespace=kueue-system")
    certificates = plane.folder / "kueue"
    certificates.mkdir()
    configuration = plane.folder / "kueue.yaml"
    configuration.write_text(
        "apiVersion: config.kueue.x-k8s.io/v1beta2\n"
        "kind: Configuration\n"
        "namespace: kueue-system\n"
        'health: {healthProbeBindAddress: "0"}\n'
        'metrics: {bindAddress: "0"}\n'
        f"webhook: {{port: 19443, host: 127.0.0.1, certDir: {certificates}}}\n"
        "leaderElection: {leaderElect: false}\n"
        "clientConnection: {qps: 500, burst: 1000}\n"
        "integrations: {frameworks: [kubeflow.org/pytorchjob]}\n"
    )
    plane.start(
        "kueue",
        f"--config={configuration}",
        f"--kubeconfig={kubeconfig}",
        "--feature-gates=VisibilityOnDemand=false",
        folder=programs,
    )
    mount_certificates(plane, "kueue-system", "kueue-webhook-server-cert", certificates)
    levels = [{"nodeLabel": label} for label in (BLOCK_LABEL, FAST_LABEL, HOST_LABEL)]
    flavor = {"nodeLabels": {_POOL_LABEL: "bench"}, "topologyName": "bench"}
    quota = {"name": "nvidia.com/gpu", "nominalQuota": str(NODES * GPUS)}
    group = {"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": "bench", "resources": [quota]}]}
    for kind, path, spec in (
        ("Topology", "topologies", {"levels": levels}),
        ("ResourceFlavor", "resourceflavors", flavor),
        ("ClusterQueue", "clusterqueues", {"namespaceSelector": {}, "resourceGroups": [group]}),
        ("LocalQueue", f"{_NAMESPACE[1:]}/localqueues", {"clusterQueue": "bench"}),
    ):
        item = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": "bench"}, "spec": spec}
        plane.call("POST", f"{_QUEUES}/{path}", item)


def _in_parallel(work: Callable[[Any], object], items: Iterable[Any]) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(work, items):
            pass


def report(count: int = JOBS) -> None:
    """Prints both ways side by side."""
    shape = f"{NODES} nodes of {GPUS} GPUs, {NODES // BLOCK} blocks, {NODES // DOMAIN} fast domains"
    print(f"\nPlacing {count} jobs of mixed meshes on {shape}")
    hinted, plain = bench(hints=True, count=count), bench(hints=False, count=count)
    print(f"{'groups that left their domain':<36}{'Kueue, hints':>16}{'scheduler alone':>18}")
    for kind in sorted(hinted.groups):
        row = [f"{outcome.crossing[kind]}/{outcome.groups[kind]}" for outcome in (hinted, plain)]
        print(f"{kind:<36}{row[0]:>16}{row[1]:>18}")
    print(f"{'half-placed jobs released':<36}{hinted.released:>16}{plain.released:>18}")
    print(f"{'seconds until all had been placed':<36}{hinted.seconds:>16.0f}{plain.seconds:>18.0f}")


if __name__ == "__main__":
    report()
