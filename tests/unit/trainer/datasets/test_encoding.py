"""Token by token, on hand-written examples."""

import copy
from typing import Any

import pytest

from customizer_trainer.datasets.conversations import Conversation
from customizer_trainer.datasets.encoding import (
    Sample,
    TemplateUnreadableError,
    Tokenizer,
    TooLong,
    drop_oldest_exchange,
    encode_conversation,
    encode_pairs,
    fit_pair,
    has_generation_markers,
    mask_tokens,
)
from customizer_trainer.datasets.prompts import Pair

BOS = 1


def learned_text(sample: Sample, tokenizer: Tokenizer) -> str:
    """Decodes what is learned, with `|` between separate stretches."""
    text, open_ = "", False
    for token, learned in zip(sample.tokens, sample.learned, strict=True):
        if learned:
            text += ("|" if text and not open_ else "") + tokenizer.decode([token])  # type: ignore[attr-defined]
        open_ = learned
    return text


FITS: dict[str, tuple[list[int], list[int], int, Sample | TooLong]] = {
    "what fits is left alone": ([5, 6], [7, 8], 4, Sample([5, 6, 7, 8], [False, False, True, True], 4)),
    "the prompt loses its start first": ([4, 5, 6], [7, 8], 4, Sample([5, 6, 7, 8], [False, False, True, True], 5)),
    "begin-of-sequence stays": (
        [BOS, 4, 5, 6],
        [7, 8],
        4,
        Sample([BOS, 6, 7, 8], [False, False, True, True], 6),
    ),
    "a completion is never cut": ([4, 5], [7, 8, 9, 10], 4, TooLong(6)),
    "one token of the prompt must stay": ([BOS, 5], [7, 8, 9], 4, TooLong(5)),
}


@pytest.mark.parametrize(("prompt", "completion", "limit", "expected"), FITS.values(), ids=FITS.keys())
def test_pairs_are_shortened(prompt: list[int], completion: list[int], limit: int, expected: Sample | TooLong) -> None:
    assert fit_pair(prompt, completion, limit, BOS) == expected


def test_a_pair_is_the_tokens_that_a_server_sees_then_the_completion_and_the_end(tokenizer: Tokenizer) -> None:
    (sample,) = encode_pairs([Pair("The capital of Peru is", " Lima")], tokenizer, 64)
    assert isinstance(sample, Sample)
    prompt = tokenizer("The capital of Peru is")["input_ids"]
    assert sample.tokens[: len(prompt)] == prompt
    assert sample.tokens[len(prompt) :] == [*tokenizer(" Lima")["input_ids"], tokenizer.eos_token_id]
    assert learned_text(sample, tokenizer) == " Lima<|im_end|>"


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Peru?"},
    {"role": "assistant", "content": "Lima"},
    {"role": "user", "content": "Oslo?"},
    {"role": "assistant", "content": "Norway"},
]


def test_of_a_conversation_every_assistant_turn_is_learned_with_its_end(tokenizer: Tokenizer) -> None:
    sample, last_turn_only = encode_conversation(Conversation(MESSAGES), tokenizer, 512)
    assert isinstance(sample, Sample)
    assert learned_text(sample, tokenizer) == "Lima<|im_end|>|Norway<|im_end|>"
    assert not last_turn_only
    whole = tokenizer.apply_chat_template(MESSAGES, tokenize=True, return_dict=False)
    assert sample.tokens == whole


def test_of_tool_calls_the_call_is_learned_and_the_tool_s_answer_is_not(tokenizer: Tokenizer) -> None:
    call = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
    messages = [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "rain"},
        {"role": "assistant", "content": "It rains."},
    ]
    sample, _ = encode_conversation(Conversation(messages), tokenizer, 512)
    assert isinstance(sample, Sample)
    assert learned_text(sample, tokenizer) == (
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call><|im_end|>|It rains.<|im_end|>'
    )


def test_generation_markers_decide_where_a_template_has_them(tokenizer: Tokenizer) -> None:
    marked: Any = copy.deepcopy(tokenizer)
    marked.chat_template = (
        "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        "A:{% generation %}{{ message['content'] }}{% endgeneration %};"
        "{% else %}U:{{ message['content'] }};{% endif %}{% endfor %}"
    )
    sample, _ = encode_conversation(Conversation(MESSAGES), marked, 512)
    assert isinstance(sample, Sample)
    assert learned_text(sample, tokenizer) == "Lima|Norway"
    assert has_generation_markers("{%- generation -%}")
    assert not has_generation_markers("{% if add_generation_prompt %}")


def test_a_template_that_rewrites_earlier_turns_teaches_the_last_one_only(tokenizer: Tokenizer) -> None:
    rewriting: Any = copy.deepcopy(tokenizer)
    rewriting.chat_template = (
        "{% for message in messages %}{% if message['role'] == 'assistant' and not loop.last %}A:(earlier);"
        "{% elif message['role'] == 'assistant' %}A:{{ message['content'] }}<|im_end|>"
        "{% else %}U:{{ message['content'] }};{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    )
    sample, last_turn_only = encode_conversation(Conversation(MESSAGES), rewriting, 512)
    assert isinstance(sample, Sample)
    assert last_turn_only
    assert learned_text(sample, tokenizer) == "Norway<|im_end|>"


def test_a_template_that_refuses_a_conversation_is_reported(tokenizer: Tokenizer) -> None:
    strict: Any = copy.deepcopy(tokenizer)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(TemplateUnreadableError, match="roles must alternate"):
        encode_conversation(Conversation(MESSAGES), strict, 512)


def test_a_conversation_loses_its_oldest_exchanges_and_keeps_its_system_message(tokenizer: Tokenizer) -> None:
    whole, _ = encode_conversation(Conversation(MESSAGES), tokenizer, 512)
    assert isinstance(whole, Sample)
    sample, _ = encode_conversation(Conversation(MESSAGES), tokenizer, len(whole.tokens) - 1)
    assert isinstance(sample, Sample)
    shorter = [MESSAGES[0], *MESSAGES[3:]]
    assert sample.tokens == tokenizer.apply_chat_template(shorter, tokenize=True, return_dict=False)
    assert sample.is_truncated
    assert sample.length_before == len(whole.tokens)
    assert encode_conversation(Conversation(MESSAGES), tokenizer, 8)[0] == TooLong(len(whole.tokens))


ROLES = {
    "the first exchange goes": ("suaua", "sua"),
    "without a system message as well": ("uaua", "ua"),
    "an exchange ends where the next user speaks": ("suatatua", "sua"),
    "one exchange cannot be shortened": ("sua", None),
    "nothing to learn is nothing": ("suau", None),
}
NAMES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


@pytest.mark.parametrize(("before", "after"), ROLES.values(), ids=ROLES.keys())
def test_exchanges_are_dropped_whole(before: str, after: str | None) -> None:
    left = drop_oldest_exchange([{"role": NAMES[letter]} for letter in before])
    assert left == (None if after is None else [{"role": NAMES[letter]} for letter in after])


def test_a_token_is_learned_when_its_first_character_is() -> None:
    assert mask_tokens([(0, 2), (2, 5), (5, 6), (6, 9)], [(2, 6)]) == [False, True, True, False]
