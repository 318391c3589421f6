"""How a running server is given adapters and rid of them: by vLLM's calls, or by a folder that a NIM looks into."""

import json
import logging
import os
import shutil
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Protocol

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.paths import LIVE_ADAPTERS, MODEL_STORE, SERVED_ADAPTERS, STAGING
from customizer_contract.serving import API_KEY

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 5
_LOAD_SECONDS = 120
_LAST_WORDS = 300
_GONE = ".gone"
"""Ending of a folder that was renamed away while its server still knew the name."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a server answers to."""

    names: list[str]
    """All that it lists."""
    adapters: dict[str, str]
    """Names and manifest digests of the adapters that came to it while it ran."""


class Engine(Protocol):
    """A server and the adapters that came to it while it ran. Those that it was started with are none of them."""

    def look(self) -> Listing | None:
        """Asks what it answers to; None while it is down.

        Raises AdapterNotLoaded if it does not tell: it is up, and busy or unwell.
        """

    def find_folder(self, name: str, digest: str) -> Path:
        """Returns the folder to bring an adapter to; the server takes no notice of it before `load`."""

    def load(self, name: str, digest: str) -> bool:
        """Makes it answer to a name with what was brought, in place of another adapter of that name.

        False: it has to forget the other one first; ask again. Raises AdapterNotLoaded.
        """

    def unload(self, name: str) -> None:
        """Makes it forget a name; the files go afterwards. Raises AdapterNotLoaded."""


class CallEngine:
    """vLLM: an adapter's folder names its digest, and the server lists the folder, so that it tells what it serves."""

    def __init__(self, port: int, store: Path, fixed: frozenset[str]) -> None:
        self._port = port
        self._live = store / LIVE_ADAPTERS.relative_to(MODEL_STORE)
        self._fixed = fixed
        """Adapters that it was started with."""

    def look(self) -> Listing | None:
        """Reads the names and the folders that it lists."""
        entries = list_models(self._port)
        if entries is None:
            return None
        adapters = [entry for entry in entries if entry.get("parent") and entry["id"] not in self._fixed]
        digests = {entry["id"]: str(entry.get("root")).rpartition("@")[2] for entry in adapters}
        return Listing([entry["id"] for entry in entries], digests)

    def find_folder(self, name: str, digest: str) -> Path:
        """Returns the folder that it will be served from."""
        return self._live / f"{name}@{digest}"

    def load(self, name: str, digest: str) -> bool:
        """Calls it. Of another adapter of that name nothing is left afterwards."""
        folder = self.find_folder(name, digest)
        is_there = name in self._find_present()
        # The server's disk is the same as ours, under the path that it sees.
        path = str(LIVE_ADAPTERS / folder.name)
        self._call("load_lora_adapter", {"lora_name": name, "lora_path": path, "load_inplace": is_there})
        for other in self._live.glob(f"{name}@*"):
            if other != folder:
                shutil.rmtree(other)
        return True

    def unload(self, name: str) -> None:
        """Calls it, then removes the files."""
        if name in self._find_present():
            self._call("unload_lora_adapter", {"lora_name": name})
        for folder in self._live.glob(f"{name}@*"):
            shutil.rmtree(folder)

    def _find_present(self) -> dict[str, str]:
        listing = self.look()
        if listing is None:
            raise _refuse("The server is down, or cuts its connections.")
        return listing.adapters

    def _call(self, what: str, body: dict[str, Any]) -> None:
        try:
            status, answer = ask(self._port, f"/v1/{what}", body, _LOAD_SECONDS)
        except (OSError, HTTPException) as error:
            raise _refuse(f"The server does not answer to {what}: {error}.") from error
        if status != HTTPStatus.OK:
            raise _refuse(f"The server answers {status} to {what}: {answer[:_LAST_WORDS].decode(errors='replace')}")


class FolderEngine:
    """A NIM: one folder an adapter, named as it is served. It looks for new and lost ones again and again."""

    def __init__(self, port: int, store: Path, fixed: frozenset[str]) -> None:
        self._port = port
        self._source = store / SERVED_ADAPTERS.relative_to(MODEL_STORE)
        self._aside = store / STAGING.relative_to(MODEL_STORE)
        self._fixed = fixed

    def look(self) -> Listing | None:
        """Reads the names that it lists, and which artifacts were put there; removes what it has forgotten."""
        names = self._list()
        if names is None:
            return None
        listed = set(names) - self._fixed
        self._clear(listed)
        return Listing(names, {name: note.read_text() for name in listed if (note := self._note(name)).is_file()})

    def find_folder(self, name: str, digest: str) -> Path:
        """Returns a folder beside the one that it looks into, or the served one if the adapter is there already."""
        return self._source / name if self._is_placed(name, digest) else self._aside / f"{name}@{digest}"

    def load(self, name: str, digest: str) -> bool:
        """Renames it into place; the server finds it at its next look.

        A server that goes by names would keep the former adapter in memory, and answer with it under the digest of the
        new one: so it has to miss the former folder first.
        """
        if self._is_placed(name, digest):
            return True
        self._note(name).unlink(missing_ok=True)
        if (self._source / name).exists():
            _move(self._source / name, self._gone(name))
        names = self._list()
        if names is None or name in set(names) - self._fixed:
            return False
        _move(self.find_folder(name, digest), self._source / name)
        self._note(name).write_text(digest)
        shutil.rmtree(self._gone(name), ignore_errors=True)
        return True

    def unload(self, name: str) -> None:
        """Renames it away; the files go when the server has forgotten the name."""
        if (self._source / name).exists():
            _move(self._source / name, self._gone(name))
        # Wished again before the server has forgotten it, it is not there already.
        self._note(name).unlink(missing_ok=True)

    def _clear(self, listed: set[str]) -> None:
        for gone in self._aside.glob(f"*{_GONE}"):
            name = gone.name.removesuffix(_GONE)
            if name not in listed:
                shutil.rmtree(gone)

    def _list(self) -> list[str] | None:
        entries = list_models(self._port)
        return None if entries is None else [entry["id"] for entry in entries]

    def _is_placed(self, name: str, digest: str) -> bool:
        note = self._note(name)
        return note.is_file() and note.read_text() == digest and (self._source / name).is_dir()

    def _note(self, name: str) -> Path:
        # Beside the folders: whatever lies in an adapter's folder is the adapter's.
        return self._aside / f"{name}.digest"

    def _gone(self, name: str) -> Path:
        return self._aside / f"{name}{_GONE}"


def list_models(port: int) -> list[dict[str, Any]] | None:
    """Returns what the server lists; None if it is down, so that nobody takes the connection or it is cut.

    Raises AdapterNotLoaded if it does not tell: it takes too long, or says something else.
    """
    try:
        status, answer = ask(port, "/v1/models", None, _PATIENCE_SECONDS)
        if status == HTTPStatus.OK:
            return [entry for entry in json.loads(answer)["data"] if isinstance(entry["id"], str)]
    except ConnectionError as error:
        log.debug("the server is down: %s", error)
        return None
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise _refuse(f"The server does not list its models: {error!r}.") from error
    raise _refuse(f"The server answers {status} when it is asked for its models.")


def ask(port: int, path: str, body: dict[str, Any] | None, patience: float) -> tuple[int, bytes]:
    """Asks the server of this pod: POST where there is a body. Raises OSError and HTTPException."""
    connection = HTTPConnection("127.0.0.1", port, timeout=patience)
    key = os.environ.get(API_KEY)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        if body is None:
            connection.request("GET", path, headers=headers)
        else:
            connection.request("POST", path, json.dumps(body), headers | {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _move(source: Path, target: Path) -> None:
    """Renames a folder to where another one may be; a name is never that of half a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    source.rename(target)


def _refuse(message: str) -> CustomizerError:
    return CustomizerError(Reason.ADAPTER_NOT_LOADED, message)
