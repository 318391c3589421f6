"""Examples to tokens, each with whether it is learned; shortened to the longest allowed sample."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from customizer_trainer.datasets.conversations import Conversation
from customizer_trainer.datasets.prompts import Pair
from customizer_trainer.datasets.spans import Rendered, Span, find_assistant_spans

_GENERATION_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    bos_token_id: int | None
    eos_token_id: int | None
    eos_token: str | None
    chat_template: Any

    def __call__(self, text: Any, **options: Any) -> Any: ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """Tokens of a sample and, for each, whether the model shall learn to write it."""

    tokens: list[int]
    learned: list[bool]
    length_before: int
    """Tokens before it was shortened."""

    @property
    def is_truncated(self) -> bool:
        """Tells whether it lost tokens."""
        return len(self.tokens) < self.length_before


@dataclass(frozen=True, slots=True)
class TooLong:
    """An example that cannot be shortened enough."""

    length_before: int


class TemplateUnreadableError(Exception):
    """The chat template fails on this conversation, or does not let the assistant's words be told."""


def encode_pairs(pairs: Sequence[Pair], tokenizer: Tokenizer, max_length: int) -> list[Sample | TooLong]:
    """Encodes prompt/completion pairs; all of the completion is learned, and the end of the text after it.

    The two are tokenized apart, because a server tokenizes the prompt alone: so it sees the tokens that were trained.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise ValueError("the tokenizer has no end-of-sequence token")
    prompts = tokenizer([pair.prompt for pair in pairs])["input_ids"]
    completions = tokenizer([pair.completion for pair in pairs], add_special_tokens=False)["input_ids"]
    return [
        fit_pair(_without_end(prompt, eos), [*completion, eos], max_length, tokenizer.bos_token_id)
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def fit_pair(prompt: list[int], completion: list[int], max_length: int, bos: int | None) -> Sample | TooLong:
    """Cuts the start of the prompt until both fit; begin-of-sequence stays. At least one token of the prompt must."""
    length = len(prompt) + len(completion)
    if length > max_length:
        head = prompt[:1] if prompt[0] == bos else []
        room = max_length - len(completion) - len(head)
        if room < 1:
            return TooLong(length)
        prompt = head + prompt[-room:]
    return Sample(prompt + completion, [False] * len(prompt) + [True] * len(completion), length)


def encode_conversation(
    conversation: Conversation, tokenizer: Tokenizer, max_length: int
) -> tuple[Sample | TooLong, bool]:
    """Encodes a conversation; of it, what the assistant says is learned, with the token that ends a turn.

    Drops the oldest exchanges after the system message until it fits. Also tells whether only the last turn could be
    marked. Raises TemplateUnreadableError.
    """
    messages = conversation.messages
    length_before = 0
    while True:
        tokens, learned, last_turn_only = _render(messages, conversation.tools, tokenizer)
        length_before = length_before or len(tokens)
        if len(tokens) <= max_length:
            return Sample(tokens, learned, length_before), last_turn_only
        shorter = drop_oldest_exchange(messages)
        if shorter is None:
            return TooLong(length_before), last_turn_only
        messages = shorter


def drop_oldest_exchange(messages: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Removes all before the second message of role user, system messages at the start excepted.

    Returns None if there is no second one, or if no assistant turn would be left.
    """
    start = next((index for index, message in enumerate(messages) if message["role"] != "system"), len(messages))
    users = [index for index in range(start + 1, len(messages)) if messages[index]["role"] == "user"]
    if not users:
        return None
    rest = messages[users[0] :]
    if all(message["role"] != "assistant" for message in rest):
        return None
    return messages[:start] + rest


def mask_tokens(offsets: Sequence[Span], spans: Sequence[Span]) -> list[bool]:
    """Marks the tokens whose first character lies within one of the spans."""
    return [any(start <= first < end for start, end in spans) for first, _ in offsets]


def _render(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, tokenizer: Tokenizer
) -> tuple[list[int], list[bool], bool]:
    if has_generation_markers(tokenizer.chat_template):
        encoded = _template(
            tokenizer, messages, tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return encoded["input_ids"], [bool(flag) for flag in encoded["assistant_masks"]], False
    rendered = find_assistant_spans(
        messages,
        lambda some, opened: str(_template(tokenizer, some, tools, tokenize=False, add_generation_prompt=opened)),
        tokenizer.eos_token,
    )
    if rendered is None:
        raise TemplateUnreadableError("the chat template does not let the assistant's turns be told from the others")
    return _tokenize(rendered, tokenizer)


def has_generation_markers(template: object) -> bool:
    """Tells whether a chat template says itself what the assistant writes."""
    return isinstance(template, str) and _GENERATION_MARKER.search(template) is not None


def _template(tokenizer: Tokenizer, messages: object, tools: object, **options: Any) -> Any:
    try:
        return tokenizer.apply_chat_template(messages, tools=tools, **options)
    except Exception as error:
        raise TemplateUnreadableError(f"the chat template refuses the conversation: {error}") from error


def _tokenize(rendered: Rendered, tokenizer: Tokenizer) -> tuple[list[int], list[bool], bool]:
    encoded = tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
    learned = mask_tokens(encoded["offset_mapping"], rendered.spans)
    return encoded["input_ids"], learned, rendered.last_turn_only


def _without_end(prompt: list[int], eos: int) -> list[int]:
    # Some tokenizers close every text; a prompt goes on.
    return prompt[:-1] if len(prompt) > 1 and prompt[-1] == eos else prompt
