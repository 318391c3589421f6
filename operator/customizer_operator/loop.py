"""The loop: what watches tell becomes keys, keys become decisions, decisions become writes."""

import asyncio
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

from customizer_operator.api.base import Object
from customizer_operator.apiserver import ApiError, RefusedError, read_own_clock
from customizer_operator.cache import Cache, read_version, take_in
from customizer_operator.cluster import Cluster
from customizer_operator.election import Leadership
from customizer_operator.kinds import OPTIONAL, Kind, build_kinds
from customizer_operator.metrics import Metrics
from customizer_operator.observer import ask, build_note_taker, find_keys_to_wake, observe
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, Key, Observed, Question, Resource, refer_to
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

_MOST_LOOKS = 64
"""Looks under way at the same time; few of them compute or talk to the apiserver, the others wait for pods."""


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
        self._cache = Cache(take_note=build_note_taker(self._kinds.values()), changed=self._wake)
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
        self._cluster = Cluster(self._cache, self.resources, kubeconfig, clock)
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="look")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leadership: Leadership | None = None
        if settings.lease_namespace:
            identity = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
            self._leadership = Leadership(self._cluster, settings.lease_namespace, identity, time.monotonic)
            self._cluster.guard(self._leadership.is_certain)

    async def run(self) -> None:
        """Works until cancelled. The caches are filled before the first decision; one that does not lead keeps them."""
        self._loop = asyncio.get_running_loop()
        await self._fill()
        self.is_filled = True
        async with asyncio.TaskGroup() as group:
            group.create_task(self._resync())
            group.create_task(self._list_late())
            if self._leadership is not None:
                await self._leadership.gain()
                group.create_task(self._lead(self._leadership))
                # It may have waited for days: what a watch has missed meanwhile must not be decided upon.
                await self._fill()
            group.create_task(self._reconciler.run(_MOST_LOOKS))

    async def _lead(self, leadership: Leadership) -> None:
        try:
            await leadership.keep()
        finally:
            await asyncio.shield(leadership.resign())
        # Another operator may lead by now. What is under way here must not be ended in good order: that could write.
        os._exit(1)

    def notice(self, resource: Resource, item: Object, *, gone: bool) -> None:
        """Takes in what a watch tells."""
        self._late.discard(resource)
        kept = take_in(resource, item)
        if kept is None:
            return
        if gone:
            self._cache.remove(refer_to(resource, kept), read_version(kept))
        else:
            self._cache.put(resource, kept)

    def _wake(self, resource: Resource, item: Object) -> None:
        """Wakes those whom a change in the cache concerns. Any thread may have made it."""
        keys = find_keys_to_wake(self._kinds.values(), self._cache, resource, item)
        if self._loop is None:
            self._add(keys)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._add, keys)

    def _add(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._reconciler.add(key)

    async def _resync(self) -> None:
        """Lists everything now and then, and looks at every object once in that time, not at all of them at once."""
        while True:
            period = self._settings.resync_seconds * (0.9 + 0.2 * random.random())  # noqa: S311
            for kind in self._kinds.values():
                for (namespace, name), _ in self._cache.notes(kind.resource):
                    key = Key(kind.resource.plural, namespace, name)
                    self._reconciler.add(key, after=period * random.random())  # noqa: S311
            await asyncio.sleep(period)
            await self._refresh()

    async def _fill(self) -> None:
        """Lists everything, as often as it takes."""
        while not await self._refresh():
            await asyncio.sleep(_RETRY_PAUSE)

    async def _refresh(self) -> bool:
        """Lists everything, which heals what a watch may have missed: what is news wakes those whom it concerns."""
        try:
            for resource in self.resources:
                if not await self._list(resource):
                    self._late.add(resource)
        except ApiError as error:
            log.warning("listing everything failed and is repeated: %s", error)
            return False
        return True

    async def _list_late(self) -> None:
        """Stands in for watches that may never begin."""
        while True:
            await asyncio.sleep(_LATE_PAUSE)
            for resource in tuple(self._late):
                try:
                    await self._list(resource)
                except ApiError as error:
                    log.warning("listing %s failed and is repeated: %s", resource.plural, error)

    async def _list(self, resource: Resource) -> bool:
        """Lists a resource into the cache; tells whether the cluster knows it.

        One that nothing but a few fields of a spec needs counts as unknown, too, where the operator must not list it.
        """
        for namespace in self._settings.namespaces or (None,):
            try:
                is_known = await asyncio.to_thread(self._cluster.refresh, resource, namespace)
            except ApiError as error:
                if error.status != HTTPStatus.FORBIDDEN or resource not in OPTIONAL:
                    raise
                if resource not in self._forbidden:
                    log.warning("goes on without %s until it may list them: %s", resource.plural, error)
                self._forbidden.add(resource)
                return False
            if not is_known:
                return False
        self._forbidden.discard(resource)
        return True

    async def _reconcile(self, key: Key) -> float | None:
        kind = self._kinds[key.plural].resource.kind
        self.metrics.reconciles.labels(kind).inc()
        with self.metrics.seconds.labels(kind).time(), self.metrics.errors.labels(kind).count_exceptions():
            return await self._look_at(key)

    async def _look_at(self, key: Key) -> float | None:
        """Brings one object nearer to what its spec says; returns the seconds until the next look.

        While a pod is asked no thread waits for it.
        """
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._threads, self._begin_look, key)
        while isinstance(outcome, _Asking):
            answers = {**outcome.observed.answers, **await self._cluster.ask_pods(outcome.pods)}
            observed = outcome.observed.with_answers(answers)
            outcome = await loop.run_in_executor(self._threads, self._go_on, outcome.kind, observed)
        return outcome

    def _begin_look(self, key: Key) -> "_Asking | float | None":
        kind = self._kinds[key.plural]
        subject = self._cache.get(kind.resource, key.namespace, key.name)
        if subject is None or subject["metadata"].get("deletionTimestamp"):
            return None
        return self._go_on(kind, observe(kind, subject, self._cache, self._cluster.now()))

    def _go_on(self, kind: Kind, observed: Observed) -> "_Asking | float | None":
        observed, pods = ask(kind, observed, self._cluster.answer)
        return _Asking(kind, observed, pods) if pods else self._act(kind, observed)

    def _act(self, kind: Kind, observed: Observed) -> float | None:
        subject, plan = observed.subject, kind.plan(observed)
        try:
            written = self._cluster.carry_out(subject, kind.resource, plan)
        except RefusedError as refusal:
            metadata = subject["metadata"]
            name = f"{kind.resource.kind} {metadata['namespace']}/{metadata['name']}"
            log.warning("%s: the apiserver refuses what is planned: %s", name, refusal)
            told = kind.plan(observed.with_refusal(refusal.message)).only_told()
            self._cluster.carry_out(subject, kind.resource, told)
            return _REFUSED_PAUSE
        if written and plan.status is not None and kind.resource == CUSTOMIZATION_JOB:
            self.metrics.count(subject, plan.status)
        return plan.requeue_after if written else _CONFLICT_PAUSE


@dataclass(frozen=True, slots=True)
class _Asking:
    """A look that waits for what only pods can tell."""

    kind: Kind
    observed: Observed
    pods: Sequence[Question]
