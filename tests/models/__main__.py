"""Prints the folder of the small models that tests and the demo train; makes them, once, if need be."""

import subprocess

from tests.cluster import environments
from tests.cluster.settings import REPOSITORY


def folder() -> str:
    """Returns the folder; making it needs torch and gguf, so an environment of its own."""
    python = environments.make("models") / "bin" / "python"
    command = [str(python), "-m", "tests.models.make"]
    return subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    print(folder())
