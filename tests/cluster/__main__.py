"""The command line of the local cluster; `make help` shows the same from outside."""

import argparse
import sys
from typing import Protocol

from tests.cluster import deploy, kind, lifecycle, settings
from tests.cluster.commands import CommandError
from tests.cluster.console import say
from tests.cluster.settings import Cluster


class Place(Protocol):
    """A module that can run the cluster: this machine by itself, or kind."""

    def up(self, cluster: Cluster) -> None: ...
    def down(self, cluster: Cluster) -> None: ...
    def publish(self, cluster: Cluster) -> None: ...
    def queue(self, cluster: Cluster) -> None: ...
    def check(self, cluster: Cluster) -> bool: ...


def carry_out(command: str, place: Place, cluster: Cluster) -> bool:
    """Does what the command says and returns whether all is well."""
    match command:
        case "up":
            place.up(cluster)
            return place.check(cluster)
        case "down":
            place.down(cluster)
        case "images":
            place.publish(cluster)
        case "queue":
            place.queue(cluster)
        case "deploy":
            deploy.deploy()
        case "status":
            return place.check(cluster)
    return True


def main() -> int:
    """Runs one command of the command line."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "images", "deploy", "queue", "status"])
    command = parser.parse_args().command
    place: Place = kind if kind.is_available() else lifecycle
    try:
        return 0 if carry_out(command, place, settings.load()) else 1
    except (CommandError, LookupError, OSError, RuntimeError) as problem:
        say(f"failed: {problem}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
