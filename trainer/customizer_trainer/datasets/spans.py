"""Which characters of a rendered conversation the assistant has written: pure, given a way to render."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
Render = Callable[[list[Message], bool], str]
"""Messages, and whether to open an assistant's turn at the end, to text."""

Span = tuple[int, int]
"""First character, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text, with what is to be learned of it."""

    text: str
    spans: list[Span]
    last_turn_only: bool = False
    """The template renders earlier turns differently once later ones follow, so only the last one is learned."""


def find_assistant_spans(messages: list[Message], render: Render, eos: str | None) -> Rendered | None:
    """Renders and finds each assistant turn: from the end of its header to the end of its closing token.

    It renders the conversation up to each turn, without and with it; the difference is the turn. Returns None for a
    template that renders no prefix alike, so that nobody can tell whose words are whose.
    """
    text = render(messages, False)
    turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    spans = [_span(messages, turn, text, render, eos) for turn in turns]
    known = [span for span in spans if span is not None]
    if len(known) == len(spans):
        return Rendered(text, known)
    if spans[-1] is not None:
        return Rendered(text, [spans[-1]], last_turn_only=True)
    return None


def _span(messages: list[Message], turn: int, text: str, render: Render, eos: str | None) -> Span | None:
    before = render(messages[:turn], True)
    after = text if turn == len(messages) - 1 else render(messages[: turn + 1], False)
    if not text.startswith(before) or not text.startswith(after) or len(after) <= len(before):
        return None
    # Line breaks after the closing token are the template's, and no server ever generates them.
    words = after[len(before) :].rstrip()
    end = len(before) + len(words) if eos and words.endswith(eos) else len(after)
    return len(before), end
