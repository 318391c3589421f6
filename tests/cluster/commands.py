"""Runs other programs; a failure carries the end of what they printed."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tests.cluster import locks


class CommandError(RuntimeError):
    """A program ended with a status other than 0."""

    def __init__(self, command: Sequence[str], status: int, output: str) -> None:
        tail = "\n".join(output.strip().splitlines()[-25:])
        super().__init__(f"{' '.join(command)[:300]}: exit status {status}\n{tail}")


def run(
    *command: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | bytes | BinaryIO = b"",
) -> str:
    """Runs a program to its end and returns what it wrote to stdout; stdin is what it reads, or the file to read."""
    arguments = [str(part) for part in command]
    variables = {**os.environ, **(environment or {})}
    if isinstance(stdin, str):
        stdin = stdin.encode()
    given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    done = subprocess.run(arguments, cwd=cwd, env=variables, capture_output=True, pass_fds=locks.held, **given)
    output: str = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise CommandError(arguments, done.returncode, output + done.stderr.decode(errors="replace"))
    return output


def succeeds(*command: str | Path) -> bool:
    """Whether a program ends with status 0; what it prints is dropped."""
    arguments = [str(part) for part in command]
    return subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
