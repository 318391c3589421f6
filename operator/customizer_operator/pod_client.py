"""Asks pods by HTTP. What runs in a pod is not trusted: it can neither send us elsewhere nor keep us waiting."""

import http.client
import json
import logging
import time
import urllib.request
from typing import Any

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 2.0
_LIMIT_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Makes an error of every redirect."""


class PodClient:
    """A client without proxies, redirects and long waits."""

    def __init__(self, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())

    def get(self, url: str) -> object:
        """Returns the parsed body of a 200, None for whatever else: a pod that does not answer is no error of ours."""
        try:
            return json.loads(self._read(url))
        except (OSError, ValueError, http.client.HTTPException) as error:
            log.debug("no answer from %s: %s", url, error)
            return None

    def _read(self, url: str) -> bytes:
        end = time.monotonic() + self._patience
        body = b""
        with self._opener.open(url, timeout=self._patience) as response:
            while piece := response.read1(_PIECE_BYTES):
                body += piece
                if len(body) > _LIMIT_BYTES or time.monotonic() > end:
                    raise ValueError("the answer is too long, or comes too slowly")
        return body
