"""Answers what decisions ask beyond the caches: of the apiserver, of pods, of Kueue."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from customizer_operator.api.base import Object
from customizer_operator.apiserver import ApiError, ApiServer, path_of
from customizer_operator.plan.plan import (
    NODE,
    POD,
    EventsOf,
    Exists,
    HttpGet,
    Listed,
    LogOf,
    NodeLabels,
    PendingWorkloads,
    Question,
    Served,
)
from customizer_operator.pod_client import PodClient

log = logging.getLogger(__name__)

_SERVED_MAX_AGE = 10.0
_NODES_MAX_AGE = 60.0
_QUEUE_MAX_AGE = 10.0
_VISIBILITY = "/apis/visibility.kueue.x-k8s.io/v1beta2"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_MEMORY = 600.0
_ASKERS = 8
_POD_ASKERS = 32
"""Pods that are asked at the same time. They may all be silent."""
_LOG_LINES = "40"
_LOG_BYTES = 1 << 14


class Answers:
    """Asks, and remembers for a while what many decisions ask."""

    def __init__(self, api: ApiServer, pods: PodClient) -> None:
        self._api = api
        self._pods = pods
        self._askers = ThreadPoolExecutor(_ASKERS, thread_name_prefix="asker")
        self._pod_askers = ThreadPoolExecutor(_POD_ASKERS, thread_name_prefix="pod-asker")
        self._remembered: dict[Question, tuple[float, object]] = {}

    def answer(self, questions: Iterable[Question]) -> dict[Question, object]:
        """Answers what a decision asks, but for what only a pod can tell and none has told lately."""
        now = time.monotonic()
        for question in [q for q, (when, _) in tuple(self._remembered.items()) if now - when > _MEMORY]:
            self._remembered.pop(question, None)
        asked = [question for question in questions if not self._must_ask_pod(question, now)]
        if len(asked) <= 1:
            return {question: self._answer(question, now) for question in asked}
        answers = self._askers.map(lambda question: self._answer(question, now), asked)
        return dict(zip(asked, answers, strict=True))

    async def ask_pods(self, questions: Iterable[Question]) -> dict[Question, object]:
        """Answers what only pods can tell. One that is silent costs seconds: many are asked at a time, by others."""
        loop, asked = asyncio.get_running_loop(), [question for question in questions if isinstance(question, HttpGet)]
        futures = [loop.run_in_executor(self._pod_askers, self._pods.get, question.url) for question in asked]
        answers: dict[Question, object] = {}
        answers.update(zip(asked, await asyncio.gather(*futures), strict=True))
        now = time.monotonic()
        self._remembered.update((question, (now, answer)) for question, answer in answers.items())
        return answers

    def _must_ask_pod(self, question: Question, now: float) -> bool:
        if not isinstance(question, HttpGet):
            return False
        return self._recall(question, now, question.max_age_seconds) is None

    def _answer(self, question: Question, now: float) -> object:
        match question:
            case EventsOf(namespace, uid):
                query = {"fieldSelector": f"involvedObject.uid={uid}"}
                events = self._api.call("GET", f"/api/v1/namespaces/{namespace}/events", query=query)["items"]
                return sorted(events, key=lambda event: event["metadata"]["creationTimestamp"])
            case Exists(resource, namespace, name, max_age):
                return self._find(question, now, max_age, path_of(resource, namespace, name))
            case LogOf(namespace, pod, container):
                return self._read_log(namespace, pod, container)
            case HttpGet():
                return self._remembered[question][1]
            case Listed(resource, namespace, selector):
                found = self._api.find(path_of(resource, namespace), {"labelSelector": selector})
                return None if found is None else found["items"]
            case PendingWorkloads():
                return self._remember(question, now, _QUEUE_MAX_AGE, lambda: self._read_queue(question))
            case NodeLabels():
                return self._remember(question, now, _NODES_MAX_AGE, self._read_node_labels)
            case Served(resource):
                path = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
                return self._remember(question, now, _SERVED_MAX_AGE, lambda: self._knows(path, resource.plural))

    def _find(self, question: Exists, now: float, max_age: float, path: str) -> object:
        if (known := self._recall(question, now, max_age)) is not None:
            return known[1]
        found = self._api.find(path)
        if found is not None and max_age > 0:
            self._remembered[question] = (now, found)
        return found

    def _read_log(self, namespace: str, pod: str, container: str) -> str | None:
        query = {"container": container, "tailLines": _LOG_LINES}
        status, data = self._api.send("GET", f"{path_of(POD, namespace, pod)}/log", query=query)
        if status != 200:
            log.info("the log of pod %s/%s is not to be had: %s", namespace, pod, status)
            return None
        return data[-_LOG_BYTES:].decode(errors="replace")

    def _remember(self, question: Question, now: float, max_age: float, ask: Callable[[], object]) -> object:
        if (known := self._recall(question, now, max_age)) is not None:
            return known[1]
        answer = ask()
        self._remembered[question] = (now, answer)
        return answer

    def _recall(self, question: Question, now: float, max_age: float) -> tuple[float, object] | None:
        """Returns when a question was answered last and how, unless that is too long ago."""
        known = self._remembered.get(question)
        return known if known is not None and now - known[0] < max_age else None

    def _read_node_labels(self) -> dict[str, dict[str, str]]:
        """Lists the metadata of the nodes; the apiserver leaves the rest out."""
        answer = self._api.call("GET", path_of(NODE, None), accept=_METADATA_ONLY)
        nodes = answer["items"] or ()  # null when there are none
        return {node["metadata"]["name"]: node["metadata"].get("labels") or {} for node in nodes}

    def _knows(self, path: str, plural: str) -> bool:
        found = self._api.find(path)
        return found is not None and any(item["name"] == plural for item in found["resources"])

    def _read_queue(self, question: PendingWorkloads) -> list[Object] | None:
        """Asks Kueue's own apiserver, which may be switched off or not answer."""
        path = f"{_VISIBILITY}/namespaces/{question.namespace}/localqueues/{question.queue}/pendingworkloads"
        try:
            return list(self._api.call("GET", path)["items"])
        except ApiError as error:
            log.info("Kueue does not tell what waits in %s/%s: %s", question.namespace, question.queue, error)
            return None
