"""What a folder holds that was downloaded completely, so that a restarted container downloads only the rest."""

import json
import threading
from pathlib import Path

INDEX_FILE = ".downloads.json"


class DownloadIndex:
    """Remembers for each file of a folder which version it is, and sees when somebody has changed it since."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[str, int, int]] = {}
        try:
            entries = json.loads((folder / INDEX_FILE).read_text())
        except FileNotFoundError:
            return
        self._entries = {path: (version, size, changed) for path, (version, size, changed) in entries.items()}

    def holds(self, path: str, version: str, size_bytes: int) -> bool:
        """Tells whether the file is here in this version and size, and untouched."""
        local = self._folder / path
        if path not in self._entries or not local.is_file():
            return False
        status = local.stat()
        return self._entries[path] == (version, size_bytes, status.st_mtime_ns) and status.st_size == size_bytes

    def add(self, path: str, version: str) -> None:
        """Records a file that is now here completely."""
        status = (self._folder / path).stat()
        with self._lock:
            self._entries[path] = (version, status.st_size, status.st_mtime_ns)
            temporary = self._folder / f"{INDEX_FILE}.part"
            temporary.write_text(json.dumps(self._entries))
            temporary.replace(self._folder / INDEX_FILE)
