"""kubectl, run where the API server can be reached."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.commands import run, succeeds


@dataclass(frozen=True, slots=True)
class Kubectl:
    """A way to call kubectl."""

    command: tuple[str, ...]

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Runs a command and returns what it printed."""
        return run(*self.command, *arguments, stdin=stdin)

    def answers(self, *arguments: str) -> bool:
        """Whether a command succeeds."""
        return succeeds(*self.command, *arguments)

    def get(self, *arguments: str) -> Any:
        """Returns objects as parsed JSON."""
        return json.loads(self.run("get", "--output=json", *arguments))

    def apply(self, kustomization: Path) -> None:
        """Applies what a kustomization renders on the server's side, taking over fields that others own."""
        manifests = self.run("kustomize", str(kustomization))
        self.run("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=manifests)
