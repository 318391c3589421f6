"""What kopf does for the operator: it starts and ends the process, probes it, and watches. It decides nothing."""

import asyncio
import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from http.server import ThreadingHTTPServer
from typing import Any

import kopf
from prometheus_client import start_http_server

from customizer_operator.health import serve_health
from customizer_operator.loop import Operator
from customizer_operator.plan.plan import Resource
from customizer_operator.selectors import find_selector
from customizer_operator.settings import Settings

log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.1
_END_SECONDS = 20.0
"""What an end in good order may take, at most; the kubelet waits for 30."""
_PAGE = 100
"""Objects that kopf reads at a time when it begins to watch."""


class _NoDiffs(kopf.DiffBaseStorage):
    """Stands in for what kopf compares an object with to find out what has changed: nobody asks it here.

    Its own way copies every object in full, which costs more than all that the operator does with it.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Returns nothing to compare."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Has stored nothing."""

    def store(self, **_: Any) -> None:
        """Stores nothing."""


class _NoProgress(kopf.ProgressStorage):
    """Stands in for where kopf keeps the progress of its handlers: there are none that have any."""

    def fetch(self, **_: Any) -> None:
        """Has stored nothing."""

    def store(self, **_: Any) -> None:
        """Stores nothing."""

    def purge(self, **_: Any) -> None:
        """Removes nothing."""

    def touch(self, **_: Any) -> None:
        """Writes nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Returns the same."""
        return essence


class Backoffs:
    """Seconds between kopf's tries of a request, without end: an apiserver that is away must not end the operator."""

    def __iter__(self) -> Iterator[float]:
        """Yields the pauses of one request."""
        yield from (1, 1, 2, 3, 5)
        yield from itertools.repeat(8)


def configure(settings: kopf.OperatorSettings, resources: Sequence[Resource]) -> None:
    """Keeps kopf from writing, from giving up, and from keeping much."""
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = Backoffs()
    settings.scanning.disabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = _NoProgress()
    # kopf keeps what it read until the object has been silent for so long, and a first list holds thousands.
    settings.queueing.idle_timeout = _IDLE_SECONDS
    settings.watching.chunk_size = _PAGE
    for resource in resources:
        if (selector := find_selector(resource)) is not None:
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = selector


def find_death(working: Iterable[asyncio.Task[Any]], watching: Iterable[asyncio.Task[Any]]) -> str | None:
    """Tells what has ended of what never does by itself."""
    if any(task.done() for task in working):
        return "the reconciler has stopped"
    return "nobody watches any more" if any(task.done() for task in watching) else None


def build_registry(
    operator: Operator, health_port: int, watching: Iterable[asyncio.Task[None]]
) -> kopf.OperatorRegistry:
    """Registers what watches and what works. Nothing makes kopf write: no finalizers, no annotations, no events."""
    registry = kopf.OperatorRegistry()
    background: list[asyncio.Task[None]] = []
    servers: list[ThreadingHTTPServer] = []

    @kopf.on.login(registry=registry)
    def login(**context: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings, operator.resources)
        background.append(asyncio.create_task(operator.run(), name="customizer"))
        if health_port:
            checks = {"/healthz": check_life, "/readyz": find_hindrance}
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

    def check_life() -> str | None:
        return find_death(background, watching)

    def find_hindrance() -> str | None:
        return check_life() or (None if operator.is_filled else "not everything could be listed yet; the log says why")

    def watch(resource: Resource) -> None:
        @kopf.on.event(
            resource.group, resource.version, resource.plural, registry=registry, id=f"notice-{resource.plural}"
        )
        async def tell(event: Any, **_: Any) -> None:
            operator.notice(resource, dict(event["object"]), gone=event["type"] == "DELETED")

    for resource in operator.resources:
        watch(resource)
    return registry


def run(settings: Settings) -> int:
    """Runs the operator until it is told to stop; returns the exit code."""
    operator = Operator(settings)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, registry=operator.metrics.registry)
    return asyncio.run(_watch(operator, settings))


async def _watch(operator: Operator, settings: Settings) -> int:
    """Watches and works; returns the exit code.

    kopf gives up all watches when one of them brings what it cannot read, such as half a line that a proxy took for a
    whole one: then the operator ends, and whoever started it starts it anew.
    """
    watching: list[asyncio.Task[None]] = []
    watching += await kopf.spawn_tasks(
        registry=build_registry(operator, settings.health_port, watching),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
    )
    main = asyncio.current_task()
    running = asyncio.create_task(kopf.run_tasks(watching, ignored=[] if main is None else [main]))
    ended, _ = await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("watching has failed, so the operator ends and must be started anew: %s", error)
    await asyncio.wait([running], timeout=_END_SECONDS)
    if not running.done():
        # kopf's other watches may take no notice of being cancelled. What is ours has had its time.
        os._exit(1)
    return 0 if running.exception() is None else 1
