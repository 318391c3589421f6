"""Certificates of webhooks, for controllers that run as processes instead of pods."""

import base64
import time
from pathlib import Path

from tests.api.control_plane import ControlPlane

_TRIES = 120


def mount_certificates(plane: ControlPlane, namespace: str, secret: str, folder: Path) -> None:
    """Does as a kubelet: writes the Secret that a controller fills to the folder that it reads."""
    path = f"/api/v1/namespaces/{namespace}/secrets/{secret}"
    for _ in range(_TRIES):
        data: dict[str, str] = plane.call("GET", path).get("data") or {}
        if "tls.crt" in data:
            for name, text in data.items():
                (folder / name).write_bytes(base64.b64decode(text))
            return
        time.sleep(0.5)
    raise TimeoutError(f"nobody made the certificate of {namespace}/{secret}")
