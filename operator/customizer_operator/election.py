"""Which of several operators may write: the one that holds the Lease."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from customizer_operator.api.base import Object

log = logging.getLogger(__name__)

LEASE = "customizer-operator"
LEASE_SECONDS = 12
"""After so long without a renewal another operator takes over."""
TRUST_SECONDS = 8.0
"""After so long without a renewal the holder writes no more: well before another one may."""
RETRY_SECONDS = 2.0
"""How often the Lease is renewed, or looked at."""


class Leases(Protocol):
    """Where the Lease is kept."""

    def read_lease(self, namespace: str, name: str) -> Object | None:
        """Returns the Lease, None if there is none. Raises OSError when it cannot be known."""

    def write_lease(self, namespace: str, lease: Object) -> bool:
        """Writes the Lease; False if somebody else was faster. Raises OSError when it cannot be known."""


class Candidate:
    """Decides from the Lease alone. Clocks of two machines are never compared: what counts is how long a Lease has
    not changed by the own clock."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._seen: str | None = None
        self._seen_at = 0.0

    def claim(self, lease: Object | None, now: float, time: datetime) -> Object | None:
        """Returns the Lease as the candidate would write it, None while another one holds it."""
        stamp = time.isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec: Object = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": stamp,
            "renewTime": stamp,
            "leaseTransitions": 0,
        }
        if lease is None:
            return {"metadata": {"name": LEASE}, "spec": spec}
        version, old = lease["metadata"]["resourceVersion"], lease.get("spec", {})
        if version != self._seen:
            self._seen, self._seen_at = version, now
        transitions = old.get("leaseTransitions") or 0
        if old.get("holderIdentity") == self._identity:
            return {**lease, "spec": {**spec, "acquireTime": old["acquireTime"], "leaseTransitions": transitions}}
        held_for = old.get("leaseDurationSeconds") or LEASE_SECONDS
        if old.get("holderIdentity") and now - self._seen_at < held_for:
            return None
        return {**lease, "spec": {**spec, "leaseTransitions": transitions + 1}}

    def resign(self, lease: Object | None) -> Object | None:
        """Returns the Lease without its holder, None if that is another one."""
        if lease is None or lease.get("spec", {}).get("holderIdentity") != self._identity:
            return None
        return {**lease, "spec": {**lease["spec"], "holderIdentity": None, "leaseDurationSeconds": 1}}


class Leadership:
    """Gains the Lease, keeps it, and knows at any time whether it may be trusted."""

    def __init__(self, leases: Leases, namespace: str, identity: str, clock: Callable[[], float]) -> None:
        self._leases = leases
        self._namespace = namespace
        self._candidate = Candidate(identity)
        self._clock = clock
        self._renewed_at: float | None = None

    def is_certain(self) -> bool:
        """Tells whether nobody else can hold the Lease."""
        return self._renewed_at is not None and self._clock() < self._renewed_at + TRUST_SECONDS

    async def gain(self) -> None:
        """Waits until the Lease is ours."""
        while not await self._try():
            await asyncio.sleep(RETRY_SECONDS)
        log.info("this operator leads")

    async def keep(self) -> None:
        """Renews the Lease; returns when it is lost."""
        while self.is_certain():
            await asyncio.sleep(RETRY_SECONDS)
            await self._try()
        log.error("the Lease %s/%s could not be renewed: another operator may lead", self._namespace, LEASE)

    async def resign(self) -> None:
        """Lets another operator take over at once."""
        if not self.is_certain():
            return
        self._renewed_at = None
        try:
            await asyncio.to_thread(self._resign)
        except OSError as error:
            log.warning("the Lease is not given back and will expire: %s", error)

    def _resign(self) -> None:
        lease = self._candidate.resign(self._leases.read_lease(self._namespace, LEASE))
        if lease is not None:
            self._leases.write_lease(self._namespace, lease)

    async def _try(self) -> bool:
        asked_at = self._clock()
        try:
            won = await asyncio.wait_for(asyncio.to_thread(self._claim), TRUST_SECONDS)
        except (OSError, TimeoutError) as error:
            log.warning("the Lease is not to be had: %s", error)
            return False
        if won:
            self._renewed_at = asked_at
        return won

    def _claim(self) -> bool:
        lease = self._leases.read_lease(self._namespace, LEASE)
        claim = self._candidate.claim(lease, self._clock(), datetime.now(UTC))
        return claim is not None and self._leases.write_lease(self._namespace, claim)
