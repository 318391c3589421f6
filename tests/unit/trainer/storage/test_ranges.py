"""What breaks off is asked for again from where it did, and only so often."""

from pathlib import Path

import pytest
from botocore.exceptions import ReadTimeoutError

from customizer_trainer.storage import ranges

CONTENT = bytes(range(256)) * 40
BROKEN = ReadTimeoutError(endpoint_url="s3://x")


class Server:
    """Answers with a few bytes, then breaks off."""

    def __init__(self, breaks_after: int) -> None:
        self.asked: list[tuple[int, int]] = []
        self._breaks_after = breaks_after

    def ask(self, begin: int, end: int) -> "Answer":
        self.asked.append((begin, end))
        return Answer(CONTENT[begin:end], self._breaks_after)


class Answer:
    def __init__(self, content: bytes, breaks_after: int) -> None:
        self._content, self._left = content, breaks_after

    def read(self, amount: int, /) -> bytes:
        if self._left == 0 and self._content:
            raise BROKEN
        count = min(amount, self._left)
        piece, self._content = self._content[:count], self._content[count:]
        self._left -= len(piece)
        return piece


def test_an_object_comes_in_parts_each_at_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PART_BYTES", 3000)
    server = Server(breaks_after=100_000)
    ranges.bring(server.ask, len(CONTENT), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert sorted(server.asked) == [(0, 3000), (3000, 6000), (6000, 9000), (9000, 10240)]


def test_what_breaks_off_goes_on_from_there(tmp_path: Path) -> None:
    server = Server(breaks_after=4000)
    ranges.bring(server.ask, len(CONTENT), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == [(0, 10240), (4000, 10240), (8000, 10240)]


def test_what_always_breaks_off_is_given_up(tmp_path: Path) -> None:
    server = Server(breaks_after=0)
    with pytest.raises(ReadTimeoutError):
        ranges.bring(server.ask, len(CONTENT), tmp_path / "file")
    assert len(server.asked) == 8


def test_an_empty_object_is_an_empty_file(tmp_path: Path) -> None:
    ranges.bring(Server(0).ask, 0, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b""
