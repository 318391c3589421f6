"""The connection to the apiserver: one request, one answer; what it refuses is an error with its words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from customizer_operator.api.base import Object
from customizer_operator.plan.plan import Resource

LEASES = "/apis/coordination.k8s.io/v1/namespaces"
"""Where Leases are."""
_TIMEOUT = (5, 30)


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
    if kubeconfig is not None:
        return config.new_client_from_config(str(kubeconfig))
    config.load_config()
    return client.ApiClient()


class ApiServer:
    """A client of the apiserver."""

    def __init__(self, kubeconfig: Path | None = None) -> None:
        self._api = _connect(kubeconfig)
        self.may_write: Callable[[], bool] = lambda: True
        """Asked before every write but that of a Lease: an operator that does not lead must not."""

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
        answer: Any = _parse(data)
        if not 200 <= status < 300:
            raise ApiError(status, answer.get("message", ""))
        return dict(answer)

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
            return response.status, response.read()
        except HTTPError as error:
            raise ApiError(0, f"the apiserver did not answer: {error}") from error


def _parse(data: bytes) -> Any:
    """Parses an answer; what is not JSON (a proxy's page, say) becomes its own message."""
    try:
        return json.loads(data)
    except ValueError:
        return {"message": data[:300].decode(errors="replace")}


def path_of(resource: Resource, namespace: str | None, name: str | None = None) -> str:
    """Returns the path of an object, or of all of a resource."""
    parts = ["apis", resource.group, resource.version] if resource.group else ["api", resource.version]
    if namespace is not None:
        parts += ["namespaces", namespace]
    parts.append(resource.plural)
    if name is not None:
        parts.append(name)
    return "/" + "/".join(parts)
