"""Files and folders that are either whole or absent, and keys made of their content."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.cluster.commands import run
from tests.cluster.locks import exclusive


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Replaces a file in one step, so that a kill leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.chmod(mode)
    partial.rename(path)


def write_json(path: Path, document: Any, mode: int = 0o644) -> None:
    """Writes a document as JSON, which every reader of YAML accepts."""
    write(path, json.dumps(document, indent=2) + "\n", mode)


def make_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Returns the folder, filled if it is not there yet; a kill while filling leaves nothing under its name."""
    with exclusive(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial")
            remove_tree(partial)
            partial.mkdir(parents=True)
            fill(partial)
            partial.rename(folder)
    return folder


def remove_tree(folder: Path) -> None:
    """Removes a folder if it is there; by rm, which is several times faster than Python on a tree of images."""
    run("rm", "--recursive", "--force", folder)


def digest(*parts: Path | str) -> str:
    """Returns twelve hexadecimal digits that change with any byte, name or executable bit of what is given."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            _add(total, "text", part.encode(), executable=False)
        else:
            for path in _files(part):
                _add(total, str(path.relative_to(part.parent)), path.read_bytes(), os.access(path, os.X_OK))
    return total.hexdigest()[:12]


def _add(total: "hashlib._Hash", name: str, content: bytes, executable: bool) -> None:
    header = f"{len(name)}:{name}:{len(content)}:{int(executable)}:"
    total.update(header.encode() + content)


def _files(part: Path) -> Iterable[Path]:
    if part.is_file():
        return [part]
    return sorted(p for p in part.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
