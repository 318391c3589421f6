"""Who may write: one operator at a time, whatever the clocks of the others say."""

import asyncio
from datetime import UTC, datetime

import pytest

from customizer_operator.api.base import Object
from customizer_operator.election import LEASE_SECONDS, TRUST_SECONDS, Candidate, Leadership

TIME = datetime(2026, 1, 1, tzinfo=UTC)


class Store:
    """The Lease, as the apiserver keeps it."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.away = False

    def read_lease(self, namespace: str, name: str) -> Object | None:
        if self.away:
            raise OSError("away")
        return self.lease

    def write_lease(self, namespace: str, lease: Object) -> bool:
        if self.away:
            raise OSError("away")
        present = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if lease["metadata"].get("resourceVersion") != present:
            return False
        self.lease = {
            **lease,
            "metadata": {"name": "customizer-operator", "resourceVersion": str(int(present or 0) + 1)},
        }
        return True

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


def held(store: Store, identity: str, now: float) -> bool:
    claim = Candidate(identity).claim(store.lease, now, TIME)
    return claim is not None and store.write_lease("ns", claim)


def test_the_first_one_leads_and_the_second_waits() -> None:
    store = Store()
    assert held(store, "a", 0)
    assert Candidate("b").claim(store.lease, 0, TIME) is None
    assert store.holder == "a"


def test_of_two_that_find_no_holder_one_is_faster() -> None:
    store = Store()
    claims = [Candidate(identity).claim(None, 0, TIME) for identity in ("a", "b")]
    assert [store.write_lease("ns", claim) for claim in claims if claim is not None] == [True, False]


def test_a_lease_that_is_renewed_is_never_taken_over() -> None:
    store, second = Store(), Candidate("b")
    for now in range(0, 100, 2):
        assert held(store, "a", now)
        assert second.claim(store.lease, now, TIME) is None


def test_a_lease_that_stays_as_it_is_for_its_duration_is_taken_over() -> None:
    store, second = Store(), Candidate("b")
    held(store, "a", 0)
    assert second.claim(store.lease, 1000, TIME) is None, "it has only just been seen"
    assert second.claim(store.lease, 1000 + LEASE_SECONDS - 0.1, TIME) is None
    claim = second.claim(store.lease, 1000 + LEASE_SECONDS, TIME)
    assert claim is not None
    assert store.write_lease("ns", claim)
    assert (store.holder, claim["spec"]["leaseTransitions"]) == ("b", 1)


def test_a_renewal_keeps_when_it_was_acquired() -> None:
    store = Store()
    first = Candidate("a")
    assert store.write_lease("ns", first.claim(None, 0, TIME) or {})
    later = first.claim(store.lease, 5, TIME.replace(minute=5))
    assert later is not None
    assert later["spec"]["acquireTime"] < later["spec"]["renewTime"]


def test_a_lease_that_was_given_back_is_free_at_once() -> None:
    store = Store()
    held(store, "a", 0)
    given_back = Candidate("a").resign(store.lease)
    assert given_back is not None
    store.write_lease("ns", given_back)
    assert held(store, "b", 0)
    assert Candidate("a").resign(store.lease) is None


def test_trust_ends_before_another_one_may_lead() -> None:
    assert TRUST_SECONDS < LEASE_SECONDS


@pytest.mark.asyncio
async def test_a_leader_that_hears_nothing_stops_writing_in_time_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = Store(), [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    leadership = Leadership(store, "ns", "a", lambda: now[0])
    assert not leadership.is_certain()
    await leadership.gain()
    assert leadership.is_certain()
    store.away = True
    await leadership.keep()
    assert now[0] == TRUST_SECONDS
    assert not leadership.is_certain()


@pytest.mark.asyncio
async def test_a_leader_that_ends_gives_the_lease_back() -> None:
    store = Store()
    leadership = Leadership(store, "ns", "a", lambda: 0.0)
    await leadership.gain()
    await leadership.resign()
    assert not leadership.is_certain()
    assert store.lease is not None
    assert store.lease["spec"]["holderIdentity"] is None
