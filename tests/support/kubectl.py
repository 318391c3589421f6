"""A thin hand on kubectl: what a person types, with JSON in between. Run below `.cluster/run`."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

Object = dict[str, Any]


class KubectlError(RuntimeError):
    """kubectl refused; the message is what it printed."""


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Runs kubectl and returns what it printed; raises KubectlError with its words if it fails."""
    done = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KubectlError(done.stderr.strip())
    return done.stdout


def apply(*objects: Object, strict: bool = True) -> None:
    """Applies objects on the server side, as GitOps tools do."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    validate = "--validate=strict" if strict else "--validate=ignore"
    kubectl("apply", "--server-side", "--force-conflicts", validate, "-f", "-", stdin=text)


def get(kind: str, name: str, namespace: str) -> Object | None:
    """Reads one object, or None if there is none."""
    text = kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
    return json.loads(text) if text.strip() else None


def get_all(kind: str, namespace: str, selector: str = "") -> list[Object]:
    """Lists the objects of a kind."""
    return list(json.loads(kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json"))["items"])


def delete(kind: str, name: str, namespace: str, *, wait: bool = True) -> None:
    """Deletes an object; one that is not there is fine."""
    kubectl("delete", kind, name, "-n", namespace, "--ignore-not-found", f"--wait={str(wait).lower()}")


def watch(kind: str, name: str, namespace: str, *, timeout: float, interval: float = 1.0) -> Iterator[Object]:
    """Yields the object as it stands, every `interval` seconds, until `timeout` seconds are over; then raises."""
    end = time.monotonic() + timeout
    last: Object | None = None
    while time.monotonic() < end:
        last = get(kind, name, namespace)
        if last is not None:
            yield last
        time.sleep(interval)
    status = json.dumps((last or {}).get("status"), indent=1)
    raise TimeoutError(f"{kind} {namespace}/{name}: not there after {timeout:.0f} s; its status is {status}")


def wait_until(kind: str, name: str, namespace: str, is_done: Callable[[Object], object], *, timeout: float) -> Object:
    """Waits until `is_done` holds for the object and returns it; raises at once if it has failed instead."""
    fetched = watch(kind, name, namespace, timeout=timeout)
    found = next(found for found in fetched if is_done(found) or is_true(found, "Failed"))
    assert is_done(found), condition(found, "Failed")
    return found


def condition(found: Object, type_: str) -> Object:
    """Picks a condition by its type; an empty one if it is not there."""
    conditions = found.get("status", {}).get("conditions", [])
    return next((entry for entry in conditions if entry["type"] == type_), {})


def is_true(found: Object, type_: str) -> bool:
    """Tells whether a condition holds."""
    return condition(found, type_).get("status") == "True"
