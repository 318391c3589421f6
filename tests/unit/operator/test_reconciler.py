"""The queue: one key at a time, once, later when it fails. And the loop around it."""

import asyncio
import contextlib
import time

import pytest

from customizer_operator.reconciler import LAST_BACKOFF, Queue, Reconciler


def new_queue() -> Queue[str]:
    return Queue(jitter=lambda: 0.0)


def test_a_key_that_is_added_twice_is_handled_once() -> None:
    queue = new_queue()
    queue.add("a", 0)
    queue.add("a", 0)
    assert queue.take(0) == "a"
    assert queue.take(0) is None


def test_the_key_that_has_been_due_the_longest_comes_first() -> None:
    queue = new_queue()
    queue.add("late", 2)
    queue.add("early", 1)
    assert [queue.take(5), queue.take(5)] == ["early", "late"]


def test_a_key_is_never_handled_twice_at_a_time_and_comes_again_when_it_was_added_meanwhile() -> None:
    queue = new_queue()
    queue.add("a", 0)
    queue.take(0)
    queue.add("a", 1)
    assert queue.take(1) is None
    queue.succeed("a", 2, None)
    assert queue.take(2) == "a"


def test_nothing_is_handed_out_before_it_is_due() -> None:
    queue = new_queue()
    queue.add("a", 10)
    assert queue.take(9.9) is None
    assert queue.next_due() == 10


def test_an_earlier_wish_beats_a_later_one() -> None:
    queue = new_queue()
    queue.add("a", 10)
    queue.add("a", 3)
    queue.add("a", 7)
    assert queue.next_due() == 3


def test_failures_double_the_pause_up_to_a_limit_and_success_forgets_them() -> None:
    queue = new_queue()
    queue.add("a", 0)
    pauses, now = [], 0.0
    for _ in range(12):
        assert queue.take(now) == "a"
        pauses.append(queue.fail("a", now))
        now += pauses[-1]
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == LAST_BACKOFF
    queue.take(now)
    queue.succeed("a", now, None)
    queue.add("a", now)
    queue.take(now)
    assert queue.fail("a", now) == 1


def test_jitter_spreads_the_pauses() -> None:
    queue: Queue[str] = Queue(jitter=lambda: 1.0)
    queue.add("a", 0)
    queue.take(0)
    assert queue.fail("a", 0) == pytest.approx(1.2)


def test_a_key_that_wants_to_be_seen_again_is_due_then() -> None:
    queue = new_queue()
    queue.add("a", 0)
    queue.take(0)
    queue.succeed("a", 100, 10)
    assert queue.next_due() == 110
    assert len(queue) == 1


def test_a_key_that_is_done_leaves_nothing_behind() -> None:
    queue = new_queue()
    queue.add("a", 0)
    queue.take(0)
    queue.succeed("a", 1, None)
    assert len(queue) == 0
    assert queue.next_due() is None


async def test_the_loop_handles_each_key_alone_and_goes_on_after_an_error() -> None:
    handled: list[str] = []
    busy: set[str] = set()

    async def reconcile(key: str) -> float | None:
        assert key not in busy
        busy.add(key)
        await asyncio.sleep(0.01)
        busy.remove(key)
        handled.append(key)
        if key == "bad" and handled.count("bad") == 1:
            raise RuntimeError("once")
        return None

    clock = asyncio.get_running_loop().time
    reconciler: Reconciler[str] = Reconciler(reconcile, clock=lambda: 100 * clock(), jitter=lambda: 0.0)
    loop = asyncio.create_task(reconciler.run(most=3))
    for _ in range(5):
        for key in ("a", "b", "bad"):
            reconciler.add(key)
        await asyncio.sleep(0.03)
    await asyncio.sleep(0.1)
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop
    assert handled.count("bad") >= 2
    assert {"a", "b"} <= set(handled)
    assert reconciler.depth == 0


async def test_what_is_added_for_later_waits_and_comes_at_once_when_it_is_added_again() -> None:
    handled = asyncio.Event()

    async def reconcile(key: str) -> float | None:
        handled.set()
        return None

    reconciler: Reconciler[str] = Reconciler(reconcile, clock=lambda: 0.0, jitter=lambda: 0.0)
    loop = asyncio.create_task(reconciler.run(most=1))
    reconciler.add("a", after=1e6)
    await asyncio.sleep(0.01)
    assert not handled.is_set()
    assert reconciler.depth == 1
    reconciler.add("a")
    await handled.wait()
    assert reconciler.depth == 0
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop


@pytest.mark.parametrize("moment", range(20))
async def test_it_ends_whenever_it_is_told_to(moment: int) -> None:
    async def reconcile(key: int) -> float | None:
        await asyncio.sleep(0)
        return 0.0 if key % 2 else 10.0

    reconciler: Reconciler[int] = Reconciler(reconcile, clock=time.monotonic, jitter=lambda: 0.0)
    loop = asyncio.create_task(reconciler.run(most=4))
    for number in range(moment):
        reconciler.add(number % 5)
        await asyncio.sleep(0)
    loop.cancel()
    done, _ = await asyncio.wait([loop], timeout=30)
    assert done
