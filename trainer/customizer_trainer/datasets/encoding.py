"""Examples to tokens, each with what is learned of it; shortened to the longest allowed sample."""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from customizer_trainer.datasets.conversations import Conversation
from customizer_trainer.datasets.prompts import Pair
from customizer_trainer.datasets.spans import Rendered, Span, find_assistant_spans
from customizer_trainer.datasets.tokenizing import TextEncoder, Tokenizer
from customizer_trainer.datasets.tokens import TokenLists, Tokens

_GENERATION_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")
_ROLES_SHOWN = 12


class Sample(NamedTuple):
    """Tokens of a sample, and which of them the model shall learn to write."""

    tokens: Tokens
    learned: tuple[Span, ...]
    """Stretches of tokens: the first one, and the one after the last."""
    length_before: int
    """Tokens before it was shortened."""

    @property
    def ids(self) -> list[int]:
        """The tokens as numbers."""
        return array("i", self.tokens).tolist()

    @property
    def mask(self) -> list[bool]:
        """For each token whether it is learned."""
        return [any(start <= index < end for start, end in self.learned) for index in range(len(self.tokens) // 4)]


class TooLong(NamedTuple):
    """An example that cannot be shortened enough."""

    length_before: int


class TemplateUnreadableError(Exception):
    """The chat template fails on this conversation, or does not let the assistant's words be told."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Tokens of prompts and completions, and how many of each prompt stay."""

    prompts: TokenLists
    completions: TokenLists
    kept: npt.NDArray[np.int64]
    """Tokens of each prompt that stay; negative where the pair cannot be shortened enough."""
    marked: npt.NDArray[np.bool_]
    """Whether the first token of each prompt marks the begin of the sequence, and stays."""

    @property
    def fit(self) -> npt.NDArray[np.bool_]:
        """Whether each pair has become a sample."""
        return self.kept >= 0

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each pair that fits."""
        return self.kept + self.completions.lengths

    @property
    def lengths_before(self) -> npt.NDArray[np.int64]:
        """Tokens of each pair before it was shortened."""
        return self.prompts.lengths + self.completions.lengths

    def samples(self) -> list[Sample | TooLong]:
        """Returns the pairs as samples: all of a completion is learned."""
        numbers = zip(self.kept.tolist(), self.marked.tolist(), self.lengths_before.tolist(), strict=True)
        found: list[Sample | TooLong] = []
        for prompt, completion, (kept, marked, before) in zip(
            self.prompts.split(), self.completions.split(), numbers, strict=True
        ):
            if kept < 0:
                found.append(TooLong(before))
                continue
            if 4 * kept < len(prompt):
                head = 4 * marked
                prompt = prompt[:head] + prompt[len(prompt) + head - 4 * kept :]
            tokens = prompt + completion
            found.append(Sample(tokens, ((kept, len(tokens) // 4),), before))
        return found


def encode_pairs(pairs: Sequence[Pair], encoder: TextEncoder, max_length: int) -> Pairs:
    """Encodes prompt/completion pairs; all of the completion is learned, and the end of the text after it.

    The two are tokenized apart, because a server tokenizes the prompt alone: so it sees the tokens that were trained.
    """
    prompts = encoder.encode_prompts([pair.prompt for pair in pairs])
    completions = encoder.encode([pair.completion for pair in pairs])
    return fit_pairs(prompts, replace(completions, after=encoder.eos), max_length, encoder.bos)


def fit_pairs(prompts: TokenLists, completions: TokenLists, max_length: int, bos: Tokens | None) -> Pairs:
    """Cuts the starts of prompts until pairs fit; begin-of-sequence stays. At least one token of a prompt must."""
    marked = prompts.begin_with(bos)
    room = max_length - completions.lengths - marked
    shortened = np.where(room < 1, -1, room + marked)
    whole = prompts.lengths + completions.lengths <= max_length
    return Pairs(prompts, completions, np.where(whole, prompts.lengths, shortened), marked)


def encode_texts(texts: Sequence[str], encoder: TextEncoder, max_length: int) -> list[Sample | TooLong]:
    """Encodes plain texts; all is learned, and the end after it. A longer one keeps its start, without the end."""
    samples: list[Sample | TooLong] = []
    for whole in replace(encoder.encode_prompts(texts), after=encoder.eos).split():
        kept = whole[: 4 * max_length]
        samples.append(Sample(kept, ((0, len(kept) // 4),), len(whole) // 4))
    return samples


def encode_conversation(
    conversation: Conversation, encoder: TextEncoder, max_length: int
) -> tuple[Sample | TooLong, bool]:
    """Encodes a conversation; of it, what the assistant says is learned, with the token that ends a turn.

    Drops the oldest exchanges after the system message until it fits. Also tells whether only the last turn could be
    marked. Raises TemplateUnreadableError.
    """
    tokens, learned, last_turn_only = _render(conversation.messages, conversation.tools, encoder)
    length = len(tokens) // 4
    if length <= max_length:
        return Sample(tokens, tuple(learned), length), last_turn_only
    found: Sample | TooLong = TooLong(length)
    # The more exchanges go, the shorter it gets, so the first one that fits is found by halving.
    shorter = list_shorter(conversation.messages)
    low, high = 0, len(shorter)
    while low < high:
        middle = (low + high) // 2
        tokens, learned, is_last = _render(shorter[middle], conversation.tools, encoder)
        if len(tokens) // 4 <= max_length:
            found, last_turn_only, high = Sample(tokens, tuple(learned), length), is_last, middle
        else:
            low = middle + 1
    return found, last_turn_only


def list_shorter(messages: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Lists the conversation without its first exchange, its first two, and so on.

    An exchange ends where the next message of role user begins. System messages at the start stay, and at least one
    assistant turn.
    """
    start = next((index for index, message in enumerate(messages) if message["role"] != "system"), len(messages))
    users = [index for index in range(start + 1, len(messages)) if messages[index]["role"] == "user"]
    last = max((index for index, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    return [messages[:start] + messages[user:] for user in users if user < last]


def mask_tokens(offsets: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """Finds the stretches of tokens whose first character lies within one of the spans."""
    stretches: list[Span] = []
    before = 0
    for index, (first, last) in enumerate(offsets):
        # Some tokenizers leave the space out that a token begins with.
        place = min(first, before)
        before = max(before, last)
        if any(start <= place < end for start, end in spans):
            if stretches and stretches[-1][1] == index:
                stretches[-1] = (stretches[-1][0], index + 1)
            else:
                stretches.append((index, index + 1))
    return stretches


def _render(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, encoder: TextEncoder
) -> tuple[Tokens, list[Span], bool]:
    tokenizer = encoder.tokenizer
    if has_generation_markers(tokenizer.chat_template):
        encoded = _template(
            tokenizer, messages, tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        flags = encoded["assistant_masks"]
        places = [(index, index + 1) for index in range(len(flags))]
        marked = [place for place, flag in zip(places, flags, strict=True) if flag]
        return array("i", encoded["input_ids"]).tobytes(), mask_tokens(places, marked), False
    rendered = find_assistant_spans(
        messages,
        lambda some, opened: str(_template(tokenizer, some, tools, tokenize=False, add_generation_prompt=opened)),
        tokenizer.eos_token,
    )
    if rendered is None:
        raise TemplateUnreadableError("the chat template does not let the assistant's turns be told from the others")
    return (*_tokenize(rendered, encoder), rendered.last_turn_only)


def has_generation_markers(template: object) -> bool:
    """Tells whether a chat template says itself what the assistant writes."""
    return isinstance(template, str) and _GENERATION_MARKER.search(template) is not None


def _template(tokenizer: Tokenizer, messages: Sequence[dict[str, Any]], tools: object, **options: Any) -> Any:
    try:
        return tokenizer.apply_chat_template(messages, tools=tools, **options)
    except Exception as error:
        roles = [str(message["role"]) for message in messages]
        shown = ", ".join(roles[:_ROLES_SHOWN]) + (", ..." if len(roles) > _ROLES_SHOWN else "")
        raise TemplateUnreadableError(f"the chat template refuses the roles {shown}: {error}") from error


def _tokenize(rendered: Rendered, encoder: TextEncoder) -> tuple[Tokens, list[Span]]:
    if (found := encoder.encode_spans(rendered.text, rendered.spans)) is not None:
        return found
    encoded = encoder.tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
    return array("i", encoded["input_ids"]).tobytes(), mask_tokens(encoded["offset_mapping"], rendered.spans)
