"""Which key is looked at when. Knows nothing of kopf, Kubernetes or what a key means."""

import asyncio
import contextlib
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF = 1.0
LAST_BACKOFF = 60.0
"""Seconds between tries of a key that keeps failing: doubled from the first to the last."""


@dataclass(slots=True)
class _Entry:
    due: float | None = None
    running: bool = False
    failures: int = 0


class Queue(Generic[K]):
    """Keys and when they are due, in seconds of whatever clock the caller has.

    A key is there once, whatever is added; it is never handed out twice at a time. One that is added while it is
    handled becomes due again afterwards.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._entries: dict[K, _Entry] = {}
        self._schedule: list[tuple[float, int, K]] = []
        """A heap. What no longer agrees with its entry is passed over."""
        self._order = itertools.count()
        self._jitter = jitter

    def __len__(self) -> int:
        """Counts the keys that are due or will be, the ones being handled excepted."""
        return sum(entry.due is not None for entry in self._entries.values())

    def add(self, key: K, due: float) -> None:
        """Makes a key due at that time, or earlier if it was so already."""
        entry = self._entries.setdefault(key, _Entry())
        if entry.due is None or due < entry.due:
            entry.due = due
            self._plan(key, entry)

    def take(self, now: float) -> K | None:
        """Hands out the key that has been due the longest."""
        due = self.next_due()
        if due is None or due > now:
            return None
        key = heapq.heappop(self._schedule)[2]
        self._entries[key].due = None
        self._entries[key].running = True
        return key

    def next_due(self) -> float | None:
        """Tells when the next key will be due that is not being handled."""
        while self._schedule:
            due, _, key = self._schedule[0]
            entry = self._entries.get(key)
            if entry is not None and not entry.running and entry.due == due:
                return due
            heapq.heappop(self._schedule)
        return None

    def succeed(self, key: K, now: float, again_after: float | None) -> None:
        """Takes a key back that went well, due again after a while if it asks for that."""
        entry = self._entries[key]
        entry.running = False
        entry.failures = 0
        if again_after is not None:
            self.add(key, now + again_after)
        self._release(key, entry)

    def fail(self, key: K, now: float) -> float:
        """Takes a key back that went wrong; returns the seconds until it is tried again."""
        entry = self._entries[key]
        entry.running = False
        delay = min(LAST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(entry.failures, 20)) * (1 + 0.2 * self._jitter())
        entry.failures += 1
        entry.due = now + delay
        self._release(key, entry)
        return delay

    def _release(self, key: K, entry: _Entry) -> None:
        """Puts a key that was handled back, or forgets it."""
        if entry.due is None:
            del self._entries[key]
        else:
            self._plan(key, entry)

    def _plan(self, key: K, entry: _Entry) -> None:
        if entry.due is not None and not entry.running:
            heapq.heappush(self._schedule, (entry.due, next(self._order), key))


class Reconciler(Generic[K]):
    """Calls `reconcile(key)` for every key that is due, a few at a time, one call a key."""

    def __init__(
        self,
        reconcile: Callable[[K], Awaitable[float | None]],
        *,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        waited: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self._reconcile = reconcile
        self._waited = waited
        """Is told how long a key was due before it was handled."""
        self._clock = clock
        self._queue: Queue[K] = Queue(jitter)
        self._changed = asyncio.Event()

    @property
    def depth(self) -> int:
        """Counts the keys that wait."""
        return len(self._queue)

    def add(self, key: K, after: float = 0.0) -> None:
        """Makes a key due after so many seconds, unless it is so earlier."""
        self._queue.add(key, self._clock() + after)
        self._changed.set()

    async def run(self, most: int) -> None:
        """Works until it is cancelled, on so many keys at a time at most."""
        free = asyncio.Semaphore(most)
        async with asyncio.TaskGroup() as group:
            while True:
                await free.acquire()
                task = group.create_task(self._handle(await self._take()))
                task.add_done_callback(lambda _: free.release())

    async def _take(self) -> K:
        """Waits for the next key that is due."""
        while True:
            now, due = self._clock(), self._queue.next_due()
            key = self._queue.take(now)
            if key is not None and due is not None:
                self._waited(now - due)
                return key
            self._changed.clear()
            # Not `wait_for`: before Python 3.12 that may swallow the cancellation that ends the loop.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else due - now):
                    await self._changed.wait()

    async def _handle(self, key: K) -> None:
        try:
            again_after = await self._reconcile(key)
        except Exception as error:
            delay = self._queue.fail(key, self._clock())
            log.warning("%s failed and is tried again in %.0f s", key, delay, exc_info=error)
        else:
            self._queue.succeed(key, self._clock(), again_after)
        self._changed.set()
