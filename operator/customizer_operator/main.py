"""Wires kopf to the loop: watches become keys, keys become decisions, decisions become writes."""

import asyncio
import itertools
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kopf
from prometheus_client import start_http_server

from customizer_operator.api.base import Object
from customizer_operator.apiserver import ApiError, RefusedError, read_own_clock
from customizer_operator.cache import Cache, find_owners, take_in
from customizer_operator.cluster import Cluster
from customizer_operator.election import Leadership
from customizer_operator.health import serve_health
from customizer_operator.kinds import OPTIONAL, build_kinds
from customizer_operator.metrics import Metrics
from customizer_operator.observer import ask, find_keys_to_wake, observe
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, Key, Resource
from customizer_operator.reconciler import Reconciler
from customizer_operator.settings import Settings

log = logging.getLogger(__name__)

_RETRY_PAUSE = 5.0
"""Seconds until the first list is tried again."""
_LATE_PAUSE = 5.0
"""Seconds between lists of what the cluster did not know at first."""
_REFUSED_PAUSE = 10.0
"""Seconds until what the apiserver refused is tried again: nobody tells when a quota or a policy changes."""
_CONFLICT_PAUSE = 0.5
"""Seconds until an object that changed under our hands is looked at again."""


class Operator:
    """The loop of all kinds: observe, ask, plan, carry out."""

    def __init__(
        self, settings: Settings, kubeconfig: Path | None = None, clock: Callable[[], datetime] = read_own_clock
    ) -> None:
        self._settings = settings
        self._kinds = {kind.resource.plural: kind for kind in build_kinds(settings)}
        self.resources = tuple(
            dict.fromkeys(
                [kind.resource for kind in self._kinds.values()]
                + [child for kind in self._kinds.values() for child in kind.children]
            )
        )
        self._cache = Cache()
        self._late: set[Resource] = set()
        """What the cluster did not know when it was listed last, and no watch has told of since.

        kopf looks for new resources when a CRD changes, which can be before the apiserver serves it: then kopf never
        begins to watch.
        """
        self._forbidden: set[Resource] = set()
        """What may be missing and must not be listed; it is told once."""
        self.is_filled = False
        """Whether the caches hold what the cluster has, so that decisions can be taken."""
        self._reconciler: Reconciler[Key] = Reconciler(
            self._reconcile,
            clock=time.monotonic,
            jitter=random.random,
            waited=lambda seconds: self.metrics.waits.observe(seconds),
        )
        self.metrics = Metrics(self._cache, self._kinds.values(), lambda: self._reconciler.depth)
        self._cluster = Cluster(self._cache, kubeconfig, clock)
        self._leadership: Leadership | None = None
        if settings.lease_namespace:
            identity = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
            self._leadership = Leadership(self._cluster, settings.lease_namespace, identity, time.monotonic)
            self._cluster.guard(self._leadership.is_certain)

    async def run(self) -> None:
        """Works until cancelled. The caches are filled before the first decision; one that does not lead keeps them."""
        while not await self._refresh():
            await asyncio.sleep(_RETRY_PAUSE)
        self.is_filled = True
        async with asyncio.TaskGroup() as group:
            group.create_task(self._resync())
            group.create_task(self._list_late())
            if self._leadership is not None:
                await self._leadership.gain()
                group.create_task(self._lead(self._leadership))
            group.create_task(self._reconciler.run(self._settings.workers))

    async def _lead(self, leadership: Leadership) -> None:
        try:
            await leadership.keep()
        finally:
            await asyncio.shield(leadership.resign())
        # Another operator may lead by now. What is under way here must not be ended in good order: that could write.
        os._exit(1)

    def notice(self, resource: Resource, item: Object, *, gone: bool) -> None:
        """Takes in what a watch tells and wakes those whom it concerns."""
        self._late.discard(resource)
        kept = take_in(resource, item)
        if kept is None:
            return
        if gone:
            self._cache.remove(resource, kept)
        else:
            self._cache.put(resource, kept)
        own = resource.plural in self._kinds
        keys = find_keys_to_wake(tuple(self._kinds.values()), self._cache, resource, item) if own else find_owners(item)
        for key in keys:
            self._reconciler.add(key)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_seconds * (0.9 + 0.2 * random.random()))  # noqa: S311
            await self._refresh()

    async def _refresh(self) -> bool:
        """Lists everything, which heals what a watch may have missed, and looks at every object once."""
        try:
            for resource in self.resources:
                if await self._list(resource) is None:
                    self._late.add(resource)
        except ApiError as error:
            log.warning("listing everything failed and is repeated: %s", error)
            return False
        for kind in self._kinds.values():
            for item in self._cache.all(kind.resource):
                metadata = item["metadata"]
                self._reconciler.add(Key(kind.resource.plural, metadata["namespace"], metadata["name"]))
        return True

    async def _list_late(self) -> None:
        """Stands in for watches that may never begin."""
        while True:
            await asyncio.sleep(_LATE_PAUSE)
            for resource in tuple(self._late):
                try:
                    news = await self._list(resource) or []
                except ApiError as error:
                    log.warning("listing %s failed and is repeated: %s", resource.plural, error)
                    continue
                for key in {key for item in news for key in find_owners(item)}:
                    self._reconciler.add(key)

    async def _list(self, resource: Resource) -> list[Object] | None:
        """Lists a resource into the cache; returns what was news, None if the cluster does not know the resource.

        One that nothing but a few fields of a spec needs counts as unknown, too, where the operator must not list it.
        """
        news: list[Object] = []
        for namespace in self._settings.namespaces or (None,):
            try:
                found = await asyncio.to_thread(self._cluster.refresh, resource, namespace)
            except ApiError as error:
                if error.status != HTTPStatus.FORBIDDEN or resource not in OPTIONAL:
                    raise
                if resource not in self._forbidden:
                    log.warning("goes on without %s until it may list them: %s", resource.plural, error)
                self._forbidden.add(resource)
                return None
            if found is None:
                return None
            news += found
        self._forbidden.discard(resource)
        return news

    async def _reconcile(self, key: Key) -> float | None:
        kind = self._kinds[key.plural].resource.kind
        self.metrics.reconciles.labels(kind).inc()
        with self.metrics.seconds.labels(kind).time(), self.metrics.errors.labels(kind).count_exceptions():
            return await asyncio.to_thread(self._look_at, key)

    def _look_at(self, key: Key) -> float | None:
        """Brings one object nearer to what its spec says; returns the seconds until the next look."""
        kind = self._kinds[key.plural]
        subject = self._cache.get(kind.resource, key.namespace, key.name)
        if subject is None or subject["metadata"].get("deletionTimestamp"):
            return None
        observed = observe(kind, subject, self._cache, self._cluster.now())
        observed = ask(kind, observed, self._cluster.answer)
        plan = kind.plan(observed)
        try:
            written = self._cluster.carry_out(subject, kind.resource, plan)
        except RefusedError as refusal:
            log.warning("%s: the apiserver refuses what is planned: %s", key, refusal)
            told = kind.plan(observed.with_refusal(refusal.message)).only_told()
            self._cluster.carry_out(subject, kind.resource, told)
            return _REFUSED_PAUSE
        if written and plan.status is not None and kind.resource == CUSTOMIZATION_JOB:
            self.metrics.count(subject, plan.status)
        return plan.requeue_after if written else _CONFLICT_PAUSE


class Backoffs:
    """Seconds between kopf's tries of a request, without end: an apiserver that is away must not end the operator."""

    def __iter__(self) -> Iterator[float]:
        """Yields the pauses of one request."""
        yield from (1, 1, 2, 3, 5)
        yield from itertools.repeat(8)


def build_registry(operator: Operator, health_port: int) -> kopf.OperatorRegistry:
    """Registers the handlers. None of them makes kopf write: no finalizers, no annotations, no events."""
    registry = kopf.OperatorRegistry()
    background: list[asyncio.Task[None]] = []
    servers: list[ThreadingHTTPServer] = []

    @kopf.on.login(registry=registry)
    def login(**context: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.watching.server_timeout = 300
        settings.networking.connect_timeout = 10
        settings.networking.request_timeout = 60
        settings.networking.error_backoffs = Backoffs()
        settings.scanning.disabled = False
        background.append(asyncio.create_task(operator.run(), name="customizer"))
        if health_port:
            checks = {"/healthz": find_death, "/readyz": find_hindrance}
            servers.append(serve_health(health_port, asyncio.get_running_loop(), checks))

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        for server in servers:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
        for task in background:
            task.cancel()
            # Not what it has come to: one that has failed must not hold up the end.
            await asyncio.wait([task])

    def find_death() -> str | None:
        return "the reconciler has stopped" if any(task.done() for task in background) else None

    def find_hindrance() -> str | None:
        return find_death() or (None if operator.is_filled else "not everything could be listed yet; the log says why")

    def watch(resource: Resource) -> None:
        @kopf.on.event(
            resource.group, resource.version, resource.plural, registry=registry, id=f"notice-{resource.plural}"
        )
        async def notice(event: Any, **_: Any) -> None:
            operator.notice(resource, dict(event["object"]), gone=event["type"] == "DELETED")

    for resource in operator.resources:
        watch(resource)
    return registry


def run(settings: Settings) -> None:
    """Runs the operator until it is told to stop."""
    operator = Operator(settings)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, registry=operator.metrics.registry)
    kopf.run(
        registry=build_registry(operator, settings.health_port),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
    )
