"""The roles are exact: the operator uses every right that it has, and without any one of them something fails."""

import asyncio
import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from customizer_contract.result import Result
from customizer_operator.apiserver import ApiError
from customizer_operator.loop import Operator
from customizer_operator.objects.images import Images
from customizer_operator.objects.serving_canary import canary_name
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, Key
from customizer_operator.settings import Settings
from tests.api.conftest import ROOT, write_kubeconfig
from tests.api.control_plane import ApiRefusedError, ControlPlane
from tests.api.test_model_deployment import ARTIFACT, BASE, COMPANIONS, deployment, roll_out, runtime, served, verify
from tests.api.test_scheduling import TOPOLOGY, make_workload
from tests.api.world import Object, World
from tests.support import samples

RBAC = "/apis/rbac.authorization.k8s.io/v1"
LEASE_ROLE = ROOT / "manifests/overlays/replicas/lease.yaml"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/customizer-system/leases/customizer-operator"
JOBS, DEPLOYMENTS = "customizationjobs", "modeldeployments"
METHODS = {"create": "POST", "patch": "PATCH", "update": "PUT", "delete": "DELETE"}
"""Of all other verbs it is GET."""


class Right(NamedTuple):
    """One verb on one resource."""

    verb: str
    group: str
    resource: str
    """With its subresource."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the operator has asked of the apiserver, as the audit log has it."""

    right: Right
    uri: str
    body: Any

    def repeat(self, plane: ControlPlane, user: str) -> str | None:
        """Asks the same without an effect; returns why that is forbidden, None when it is not."""
        method = METHODS.get(self.right.verb, "GET")
        path, _, query = self.uri.partition("?")
        kept = [part for part in query.split("&") if part and not part.startswith("timeoutSeconds")]
        options = ["timeoutSeconds=1"] if method == "GET" else ["dryRun=All"]
        uri = f"{path}?{'&'.join([*kept, *options])}"
        kind = "json" if method != "PATCH" else "apply-patch+yaml" if "force=true" in query else "merge-patch+json"
        try:
            plane.call(method, uri, self.body, f"application/{kind}", raw=True, user=user)
        except ApiRefusedError as refusal:
            return refusal.message if refusal.status == 403 else None
        return None

    def of_absent(self) -> "Request":
        """Returns the same for an object that is not there."""
        body = {**self.body, "metadata": {**self.body["metadata"], "name": "absent"}}
        path, _, query = self.uri.partition("?")
        return Request(self.right, f"{path.rpartition('/')[0]}/absent?{query}", body)

    def is_for(self, plural: str) -> bool:
        """Tells whether it makes an object that belongs to one of ours of that kind."""
        metadata = self.body["metadata"] if self.right.verb == "create" and self.body else {}
        owners = metadata.get("ownerReferences") or ()
        return any(f"{owner['kind'].lower()}s" == plural for owner in owners)


def find_need(right: Right, requests: dict[Right, Request]) -> Request | None:
    """Returns a request that needs a right, though the audit log does not say so."""
    if right.verb == "create":  # an apply that finds nothing to change
        applied = requests.get(right._replace(verb="patch"))
        return None if applied is None else applied.of_absent()
    if right.resource.endswith("/finalizers"):  # asked by admission, of whoever makes an object with an owner
        plural = right.resource.partition("/")[0]
        return next((request for request in requests.values() if request.is_for(plural)), None)
    return None


def read_rules() -> list[Object]:
    """Returns the rules of the ClusterRole and, after them, those of the Role with the right to lead."""
    role, _ = yaml.safe_load_all((ROOT / "manifests/base/role.yaml").read_text())
    lease, _ = yaml.safe_load_all(LEASE_ROLE.read_text())
    return [*role["rules"], *lease["rules"]]


def read_rights() -> list[tuple[int, Right]]:
    """Returns the rights of the rules, each with the number of its rule."""
    return [
        (number, Right(verb, group, resource))
        for number, rule in enumerate(read_rules())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def read_requests(log: Path, offset: int) -> Iterator[Request]:
    """Yields what the operator was allowed to ask since the log had that length."""
    whole, _, _ = log.read_bytes()[offset:].rpartition(b"\n")  # the last line may be on its way
    for event in map(json.loads, whole.splitlines()):
        target = event.get("objectRef", {})
        if "resource" not in target or event["annotations"].get("authorization.k8s.io/decision") != "allow":
            continue
        name = "/".join(filter(None, (target["resource"], target.get("subresource"))))
        right = Right(event["verb"], target.get("apiGroup", ""), name)
        yield Request(right, event["requestURI"], event.get("requestObject"))


class Life:
    """An operator in this process, that looks when it is told to."""

    def __init__(self, plane: ControlPlane, world: World, folder: Path) -> None:
        self.world = world
        self.ahead = timedelta()
        """What is added to the time."""
        images = Images(io="io:1", automodel="automodel:1", unsloth="unsloth:1", vllm="vllm:1")
        kubeconfig = write_kubeconfig(plane, folder / "kubeconfig")
        self._operator = Operator(Settings(images=images, namespaces=(world.namespace,)), kubeconfig)
        cluster = self._operator._cluster
        now = cluster.now
        cluster.now = lambda: now() + self.ahead  # type: ignore[method-assign]

    def look(self, name: str, plural: str = JOBS) -> None:
        """Learns of all that has changed, and looks a few times at an object."""
        # It fails while the apiserver makes room for a new kind.
        self.world.wait("everything to be listed", lambda: asyncio.run(self._operator._refresh()))
        self.look_blindly(name, plural)

    def hear_of(self, plural: str) -> None:
        """Learns of one kind alone."""
        [resource] = [resource for resource in self._operator.resources if resource.plural == plural]
        assert self._operator._cluster.refresh(resource, self.world.namespace)

    def knows(self, name: str) -> str | None:
        """Returns the uid of a job that the cache has."""
        found = self._operator._cache.get(CUSTOMIZATION_JOB, self.world.namespace, name)
        return None if found is None else str(found["metadata"]["uid"])

    def look_blindly(self, name: str, plural: str = JOBS) -> None:
        """Looks without learning of anything before."""
        for _ in range(4):
            self.world.wait("a look", lambda: self._try(Key(plural, self.world.namespace, name)))

    def _try(self, key: Key) -> bool:
        """Looks; tells whether the apiserver was ready for it, whose storage of a new kind takes a moment."""
        try:
            asyncio.run(self._operator._look_at(key))
        except ApiError as error:
            if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise
            return False
        return True

    def begin(self, name: str, **spec: Any) -> None:
        """Brings a job to its first attempt."""
        self.world.create(JOBS, samples.job(name, **spec))
        self.look(name)
        self.world.pass_preflight(name, samples.passed())
        self.look(name)

    def start_attempt(self, name: str) -> list[str]:
        """Lets the pods of an attempt run."""
        pods = self.world.make_workers(name)
        for pod in pods:
            self.world.run_pod(pod)
        self.look(name.rpartition("-")[0])
        return pods

    def live(self) -> None:
        """Does all that an operator ever does."""
        self._train()
        self._lose_words()
        self._wait_in_queues()
        self._serve()

    def _train(self) -> None:
        world = self.world
        self.begin("tickets", deployment={"runtime": {"type": "VLLM"}})
        first, second = self.start_attempt("tickets-a1")
        world.delete("pods", second)
        self.look("tickets")
        assert world.get("pytorchjobs", "tickets-a1") is None
        self.ahead += timedelta(minutes=1)
        self.look("tickets")  # asks whether the other pod is still there
        world.delete("pods", first)
        self.look("tickets")
        first, second = self.start_attempt("tickets-a2")
        world.end_pod(second, 0)
        world.end_pod(first, 0, samples.trained())
        self.look("tickets")
        assert world.get(DEPLOYMENTS, "tickets") is not None
        world.patch(JOBS, "tickets", {"spec": {"ttlSecondsAfterFinished": 0}})
        self.look_blindly("tickets")  # has not heard of the change, so that its next write is one too late
        self.look("tickets")
        assert world.get(JOBS, "tickets") is None

    def _lose_words(self) -> None:
        world = self.world
        self.begin("silent", failurePolicy={"maxAttempts": 1})
        for pod in self.start_attempt("silent-a1"):
            world.end_pod(pod, 1)
        self.look("silent")
        world.create(JOBS, samples.job("lost"))
        self.look("lost")
        world.finish_job("lost-preflight")
        self.look("lost")

    def _wait_in_queues(self) -> None:
        world = self.world
        self.begin("queued", scheduling={"queue": "team-a", "topology": TOPOLOGY})
        job = world.wait_for("pytorchjobs", "queued-a1")
        make_workload(world, job["metadata"]["uid"])
        world.set_training_job("queued-a1", "Created", "Suspended")
        self.look("queued")
        world.patch("pytorchjobs", "queued-a1", {"spec": {"runPolicy": {"suspend": False}}})
        self.start_attempt("queued-a1")
        self.begin("gang", scheduling={"scheduler": "Volcano"})
        world.set_training_job("gang-a1", "Created")
        self.look("gang")

    def _serve(self) -> None:
        world, adapters = self.world, [{"name": "a", **ARTIFACT}]
        spec = {**runtime(image="vllm:1", lora={}), "adapters": adapters, **dict(COMPANIONS.values())}
        world.create(DEPLOYMENTS, deployment(**spec))
        self.look("bot", DEPLOYMENTS)
        verify(world, served())
        self.look("bot", DEPLOYMENTS)
        roll_out(world)
        world.patch(DEPLOYMENTS, "bot", {"spec": {member: None for member, _ in COMPANIONS.values()}})
        self.look("bot", DEPLOYMENTS)
        owner = world.wait_for("deployments", "bot")
        canary: Object = {"metadata": {**owner["metadata"], "name": canary_name("bot")}, "spec": owner["spec"]}
        for written in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
            canary["metadata"].pop(written, None)
        world.create("deployments", canary)  # left by a version whose trial is over
        self.look("bot", DEPLOYMENTS)
        assert world.get("deployments", canary_name("bot")) is None
        by_nvidia: Object = {
            "type": "MultiLLM",
            "image": "registry.test/llm-nim:1.15.5",
            "ngcSecretRef": {"name": "ngc"},
        }
        world.create(DEPLOYMENTS, deployment("nim", model=BASE, runtime=by_nvidia, backend="NIMService"))
        self.look("nim", DEPLOYMENTS)
        verify(world, Result(command="verify").to_json(), name="nim")
        self.look("nim", DEPLOYMENTS)


def make_roles(plane: ControlPlane, rights: list[tuple[int, Right]]) -> None:
    """Makes a user for every right, who has all others, by a role that names them as ours do."""
    for number, (rule, right) in enumerate(rights):
        rest: Object = {"rules": copy.deepcopy(read_rules())}
        before = rest["rules"].pop(rule)
        rest["rules"] += [
            {**before, "apiGroups": [group], "resources": [resource], "verbs": [verb]}
            for group in before["apiGroups"]
            for resource in before["resources"]
            for verb in before["verbs"]
            if Right(verb, group, resource) != right
        ]
        rest["metadata"] = {"name": f"without-{number}"}
        plane.call("POST", f"{RBAC}/clusterroles", rest)
        subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": f"without-{number}"}
        reference = {"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": f"without-{number}"}
        binding = {"metadata": {"name": f"without-{number}"}, "subjects": [subject], "roleRef": reference}
        plane.call("POST", f"{RBAC}/clusterrolebindings", binding)


@pytest.fixture
def requests(
    control_plane: ControlPlane,
    world: World,
    make_world: Callable[[], World],
    start_operator: Callable[..., object],
    kueue: None,
    integrations: None,
    stand_ins: None,
    tmp_path: Path,
) -> dict[Right, Request]:
    """What the operator has asked in a life with everything in it, one request for each right."""
    offset = control_plane.audit.stat().st_size
    control_plane.install(LEASE_ROLE)
    with contextlib.suppress(ApiRefusedError):  # an operator of another test may have left it
        control_plane.call("DELETE", LEASE)
    # Lists, watches and leads; the other one does the rest.
    start_operator(CUSTOMIZER_LEASE_NAMESPACE="customizer-system")
    Life(control_plane, make_world(), tmp_path).live()
    watched = {right for _, right in read_rights() if right.verb == "watch" or right.resource == "leases"}

    def find_all() -> dict[Right, Request] | None:
        found = {request.right: request for request in read_requests(control_plane.audit, offset)}
        return found if watched <= set(found) else None

    found: dict[Right, Request] = world.wait("every watch to begin, and the Lease to be renewed", find_all)
    return found


def test_the_operator_uses_every_right_that_it_has_and_without_any_one_of_them_is_refused(
    control_plane: ControlPlane, world: World, requests: dict[Right, Request]
) -> None:
    rights = read_rights()
    needs = {right: requests.get(right) or find_need(right, requests) for _, right in rights}
    assert [right for right, request in needs.items() if request is None] == []
    assert set(requests) <= set(needs)
    make_roles(control_plane, rights)
    for number, (_, right) in enumerate(rights):
        user = f"without-{number}"
        other = next(one for one in requests.values() if one.right.verb == ("get" if right.verb == "list" else "list"))
        world.wait(f"the other rights of {user}", lambda user=user, other=other: not other.repeat(control_plane, user))
        request = needs[right]
        assert request is not None
        assert request.repeat(control_plane, user), f"nothing is refused without {right}"
