"""The door to the Kubernetes API and the pods. What is synchronous is run in threads by its callers."""

from collections.abc import Callable, Container, Iterable
from datetime import datetime
from pathlib import Path

from customizer_operator.answers import Answers
from customizer_operator.api.base import Object
from customizer_operator.apiserver import LEASES, ApiError, ApiServer, path_of, read_own_clock
from customizer_operator.cache import Cache, Place, find_place, take_in
from customizer_operator.plan.plan import Plan, Question, Resource
from customizer_operator.pod_client import PodClient
from customizer_operator.selectors import find_selector
from customizer_operator.writes import Writer

_LIST_LIMIT = 100
"""Objects of a page. A page is unpacked as a whole, and what thousands of objects leave behind is not given back."""


class Cluster:
    """Reads from the cluster and carries plans out."""

    def __init__(
        self,
        cache: Cache,
        watched: Container[Resource],
        kubeconfig: Path | None = None,
        clock: Callable[[], datetime] = read_own_clock,
    ) -> None:
        self._api = ApiServer(kubeconfig, clock)
        self._cache = cache
        self._answers = Answers(self._api, PodClient())
        self._writer = Writer(self._api, cache, watched)

    def refresh(self, resource: Resource, namespace: str | None) -> bool:
        """Lists a resource into the cache, page by page; tells whether the cluster knows the resource."""
        listed: set[Place] = set()
        selector = find_selector(resource)
        query = {"limit": str(_LIST_LIMIT), **({} if selector is None else {"labelSelector": selector})}
        while True:
            page = self._api.find(path_of(resource, namespace), query)
            if page is None:
                return False
            for item in page["items"]:
                if (kept := take_in(resource, item)) is not None:
                    self._cache.put(resource, kept)
                    listed.add(find_place(kept))
            token = page["metadata"].get("continue")
            if not token:
                break
            query["continue"] = token
        self._cache.drop_unlisted(resource, listed, int(page["metadata"]["resourceVersion"]), namespace)
        return True

    def now(self) -> datetime:
        """Returns the time by which objects are dated, in whole seconds."""
        return self._api.now().replace(microsecond=0)

    def answer(self, questions: Iterable[Question]) -> dict[Question, object]:
        """Answers what a decision asks, but for what only a pod can tell and none has told lately."""
        return self._answers.answer(questions)

    async def ask_pods(self, questions: Iterable[Question]) -> dict[Question, object]:
        """Answers what only pods can tell."""
        return await self._answers.ask_pods(questions)

    def carry_out(self, subject: Object, resource: Resource, plan: Plan) -> bool:
        """Makes the cluster as planned; False when the subject has changed meanwhile and must be looked at again.

        Raises RefusedError for an object that the apiserver refuses; then the rest of the plan is not carried out.
        """
        return self._writer.carry_out(subject, resource, plan)

    def guard(self, may_write: Callable[[], bool]) -> None:
        """Refuses every write, Leases excepted, unless `may_write` says so at that moment."""
        self._api.may_write = may_write

    def read_lease(self, namespace: str, name: str) -> Object | None:
        """Returns a Lease, None if there is none."""
        return self._api.find(f"{LEASES}/{namespace}/leases/{name}")

    def write_lease(self, namespace: str, lease: Object) -> bool:
        """Creates a Lease, or updates one that has not changed since it was read; False if somebody was faster."""
        metadata, path = lease["metadata"], f"{LEASES}/{namespace}/leases"
        known = "resourceVersion" in metadata
        try:
            if known:
                self._api.call("PUT", f"{path}/{metadata['name']}", body=lease)
            else:
                self._api.call("POST", path, body=lease)
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True
