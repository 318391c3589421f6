"""The connection to the apiserver: one request, one answer; what it refuses is an error with its words."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from customizer_operator.api.base import Object
from customizer_operator.plan.plan import Resource

log = logging.getLogger(__name__)

LEASES = "/apis/coordination.k8s.io/v1/namespaces"
"""Where Leases are."""
_TIMEOUT = (5, 30)
"""Seconds to connect and to wait for an answer."""
_CLOCK_TOLERANCE = timedelta(seconds=3)
"""A date has whole seconds, and an answer takes a while."""


class ApiError(OSError):
    """The apiserver refused a request, or did not answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class RefusedError(ApiError):
    """The apiserver will not have an object: a quota, a policy or a webhook, which the user may be able to change."""


def _connect(kubeconfig: Path | None) -> client.ApiClient:
    """Returns a client for the cluster that a kubeconfig names; default: where the operator runs, or $KUBECONFIG."""
    settings = client.Configuration()
    # What fails is repeated by the reconciler, in its own time. Three more tries at an apiserver that is silent would
    # hold a worker for two minutes.
    settings.retries = False
    if kubeconfig is not None:
        config.load_kube_config(str(kubeconfig), client_configuration=settings)
    else:
        config.load_config(client_configuration=settings)
    return client.ApiClient(settings)


def read_own_clock() -> datetime:
    """Returns the time by the clock of this machine."""
    return datetime.now(UTC)


class ApiServer:
    """A client of the apiserver."""

    def __init__(self, kubeconfig: Path | None = None, clock: Callable[[], datetime] = read_own_clock) -> None:
        self._api = _connect(kubeconfig)
        self._clock = clock
        self._ahead = timedelta()
        self.may_write: Callable[[], bool] = lambda: True
        """Asked before every write but that of a Lease: an operator that does not lead must not."""

    def now(self) -> datetime:
        """Returns the time by the apiserver's clock, which dates all objects; by the own one until it has answered."""
        return self._clock() + self._ahead

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """Returns the parsed answer. Raises ApiError."""
        status, data = self.send(method, path, body=body, query=query, content_type=content_type, accept=accept)
        try:
            answer: Any = json.loads(data)
        except ValueError as error:
            # A proxy's page, or an answer whose end was lost on the way.
            text = data[:300].decode(errors="replace")
            raise ApiError(0 if 200 <= status < 300 else status, f"no answer of an apiserver: {text}") from error
        if not 200 <= status < 300:
            raise ApiError(status, answer.get("message", ""))
        return dict(answer)

    def find(self, path: str, query: dict[str, str] | None = None) -> Object | None:
        """Returns what is at a path, None if there is nothing. Raises ApiError."""
        try:
            return self.call("GET", path, query=query)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> tuple[int, bytes]:
        """Returns status and body of the apiserver's answer, whatever they are."""
        if method != "GET" and not path.startswith(LEASES) and not self.may_write():
            raise ApiError(0, "this operator does not lead any more")
        request = self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._api.call_api(*request, _request_timeout=_TIMEOUT)
            self._compare_clocks(response.getheader("Date"))
            return response.status, response.read()
        except HTTPError as error:
            raise ApiError(0, f"the apiserver did not answer: {error}") from error

    def _compare_clocks(self, date: str | None) -> None:
        try:
            told = parsedate_to_datetime(date or "")
        except ValueError:
            return
        if told.tzinfo is None:  # what a proxy has made of two dates
            return
        ahead = told - self._clock()
        if abs(ahead - self._ahead) > _CLOCK_TOLERANCE:
            log.warning("the apiserver's clock is ahead of the own one by %.0f s, and counts", ahead.total_seconds())
            self._ahead = ahead


def path_of(resource: Resource, namespace: str | None, name: str | None = None) -> str:
    """Returns the path of an object, or of all of a resource."""
    parts = ["apis", resource.group, resource.version] if resource.group else ["api", resource.version]
    if namespace is not None:
        parts += ["namespaces", namespace]
    parts.append(resource.plural)
    if name is not None:
        parts.append(name)
    return "/" + "/".join(parts)
