"""Strings that are no text: what JSON can write, or a damaged file can hold, and no tokenizer takes."""

from customizer_trainer.datasets.problems import Defect

_ESCAPED_BYTES = range(0xDC80, 0xDD00)
"""What stands for the bytes 0x80 to 0xff where they were decoded with `surrogateescape`."""


def find_no_text(value: object, at: str = "") -> Defect | None:
    """Returns the first string within a decoded JSON value that holds half of a surrogate pair; None if all are text.

    `at` is the value's own place within the record.
    """
    # No recursion: the value may be nested as deeply as its decoder could bear.
    waiting = [(at, value)]
    while waiting:
        place, found = waiting.pop()
        if isinstance(found, str):
            if (message := _find_half(found)) is not None:
                return Defect("no-text", place or None, message)
        elif isinstance(found, dict):
            for name in found:
                if (message := _find_half(name)) is not None:
                    return Defect("no-text", _join(place, _show(name)), message)
            waiting += reversed([(_join(place, name), item) for name, item in found.items()])
        elif isinstance(found, list):
            waiting += reversed([(f"{place}[{index}]", item) for index, item in enumerate(found)])
    return None


def _find_half(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code, place = ord(text[error.start]), f"at character {error.start + 1}"
        if code in _ESCAPED_BYTES:
            return f"expected a text, found the byte 0x{code & 0xFF:02x} {place}, which is not UTF-8"
        return f"expected a text, found half of a surrogate pair (\\u{code:04x}) {place}, which is no character"
    return None


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _show(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode()
