"""Token by token, on hand-written examples."""

import copy
from array import array
from dataclasses import replace
from typing import Any

import pytest

from customizer_trainer.datasets.conversations import Conversation
from customizer_trainer.datasets.encoding import (
    Sample,
    TemplateUnreadableError,
    TooLong,
    encode_conversation,
    encode_pairs,
    fit_pairs,
    has_generation_markers,
    list_shorter,
    mask_tokens,
)
from customizer_trainer.datasets.prompts import Pair
from customizer_trainer.datasets.tokenizing import TextEncoder, Tokenizer
from customizer_trainer.datasets.tokens import join_tokens

BOS = 1


def learned_text(sample: Sample, tokenizer: Tokenizer) -> str:
    """Decodes what is learned, with `|` between separate stretches."""
    ids = sample.ids
    return "|".join(tokenizer.decode(ids[start:end]) for start, end in sample.learned)  # type: ignore[attr-defined]


def tokens(*ids: int) -> bytes:
    return array("i", ids).tobytes()


def sample_of(*ids: int, learned: tuple[int, int], before: int) -> Sample:
    return Sample(tokens(*ids), (learned,), before)


FITS: dict[str, tuple[list[int], list[int], int, Sample | TooLong]] = {
    "what fits is left alone": ([5, 6], [7, 8], 4, sample_of(5, 6, 7, 8, learned=(2, 4), before=4)),
    "the prompt loses its start first": ([4, 5, 6], [7, 8], 4, sample_of(5, 6, 7, 8, learned=(2, 4), before=5)),
    "begin-of-sequence stays": ([BOS, 4, 5, 6], [7, 8], 4, sample_of(BOS, 6, 7, 8, learned=(2, 4), before=6)),
    "a completion is never cut": ([4, 5], [7, 8, 9, 10], 4, TooLong(6)),
    "one token of the prompt must stay": ([BOS, 5], [7, 8, 9], 4, TooLong(5)),
}


@pytest.mark.parametrize(("prompt", "completion", "limit", "expected"), FITS.values(), ids=FITS.keys())
def test_pairs_are_shortened(prompt: list[int], completion: list[int], limit: int, expected: Sample | TooLong) -> None:
    pairs = fit_pairs(join_tokens([tokens(*prompt)]), join_tokens([tokens(*completion)]), limit, tokens(BOS))
    assert pairs.samples() == [expected]
    assert pairs.lengths_before.tolist() == [expected.length_before]
    assert pairs.fit.tolist() == [isinstance(expected, Sample)]
    if isinstance(expected, Sample):
        assert pairs.lengths.tolist() == [len(expected.ids)]


@pytest.fixture(params=[False, True], ids=["tokenizer", "fast"])
def encoder(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> TextEncoder:
    """Both ways to encode: they must not differ in anything."""
    return TextEncoder(tokenizer, fast=request.param)


def test_a_pair_is_the_tokens_that_a_server_sees_then_the_completion_and_the_end(
    tokenizer: Tokenizer, encoder: TextEncoder
) -> None:
    (sample,) = encode_pairs([Pair("The capital of Peru is", " Lima")], encoder, 64).samples()
    assert isinstance(sample, Sample)
    prompt = tokenizer("The capital of Peru is")["input_ids"]
    assert sample.ids[: len(prompt)] == prompt
    assert sample.ids[len(prompt) :] == [*tokenizer(" Lima")["input_ids"], tokenizer.eos_token_id]
    assert learned_text(sample, tokenizer) == " Lima<|im_end|>"


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Peru?"},
    {"role": "assistant", "content": "Lima"},
    {"role": "user", "content": "Oslo?"},
    {"role": "assistant", "content": "Norway"},
]


def test_of_a_conversation_every_assistant_turn_is_learned_with_its_end(
    tokenizer: Tokenizer, encoder: TextEncoder
) -> None:
    sample, last_turn_only = encode_conversation(Conversation(MESSAGES), encoder, 512)
    assert isinstance(sample, Sample)
    assert learned_text(sample, tokenizer) == "Lima<|im_end|>|Norway<|im_end|>"
    assert not last_turn_only
    whole = tokenizer.apply_chat_template(MESSAGES, tokenize=True, return_dict=False)
    assert sample.ids == whole


def test_of_tool_calls_the_call_is_learned_and_the_tool_s_answer_is_not(
    tokenizer: Tokenizer, encoder: TextEncoder
) -> None:
    call = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
    messages = [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "rain"},
        {"role": "assistant", "content": "It rains."},
    ]
    sample, _ = encode_conversation(Conversation(messages), encoder, 512)
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
    sample, _ = encode_conversation(Conversation(MESSAGES), TextEncoder(marked, fast=False), 512)
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
    sample, last_turn_only = encode_conversation(Conversation(MESSAGES), TextEncoder(rewriting, fast=False), 512)
    assert isinstance(sample, Sample)
    assert last_turn_only
    assert learned_text(sample, tokenizer) == "Norway<|im_end|>"


def test_a_template_that_refuses_a_conversation_is_reported(tokenizer: Tokenizer) -> None:
    strict: Any = copy.deepcopy(tokenizer)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(TemplateUnreadableError, match="roles must alternate"):
        encode_conversation(Conversation(MESSAGES), TextEncoder(strict, fast=False), 512)


def test_a_conversation_loses_its_oldest_exchanges_and_keeps_its_system_message(
    tokenizer: Tokenizer, encoder: TextEncoder
) -> None:
    whole, _ = encode_conversation(Conversation(MESSAGES), encoder, 512)
    assert isinstance(whole, Sample)
    sample, _ = encode_conversation(Conversation(MESSAGES), encoder, len(whole.ids) - 1)
    assert isinstance(sample, Sample)
    shorter = [MESSAGES[0], *MESSAGES[3:]]
    assert sample.ids == tokenizer.apply_chat_template(shorter, tokenize=True, return_dict=False)
    assert sample.length_before == len(whole.ids)
    assert encode_conversation(Conversation(MESSAGES), encoder, 8)[0] == TooLong(len(whole.ids))


ROLES: dict[str, tuple[str, list[str]]] = {
    "the first exchange goes": ("suaua", ["sua"]),
    "one after the other": ("suauaua", ["suaua", "sua"]),
    "without a system message as well": ("uaua", ["ua"]),
    "an exchange ends where the next user speaks": ("suatatua", ["sua"]),
    "one exchange cannot be shortened": ("sua", []),
    "nothing to learn is nothing": ("suau", []),
}
NAMES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


@pytest.mark.parametrize(("before", "after"), ROLES.values(), ids=ROLES.keys())
def test_exchanges_are_dropped_whole(before: str, after: list[str]) -> None:
    shorter = list_shorter([{"role": NAMES[letter]} for letter in before])
    assert shorter == [[{"role": NAMES[letter]} for letter in roles] for roles in after]


OFFSETS: dict[str, tuple[list[tuple[int, int]], list[tuple[int, int]], list[tuple[int, int]]]] = {
    "a token is learned when its first character is": ([(0, 2), (2, 5), (5, 6), (6, 9)], [(2, 6)], [(1, 3)]),
    "stretches stay apart": ([(0, 1), (1, 2), (2, 3)], [(0, 1), (2, 3)], [(0, 1), (2, 3)]),
    "a space that offsets leave out belongs to its token": ([(0, 2), (3, 5), (6, 6)], [(2, 7)], [(1, 3)]),
    "tokens of one character are learned together": ([(0, 1), (1, 2), (1, 2), (2, 3)], [(1, 2)], [(1, 3)]),
}


@pytest.mark.parametrize(("offsets", "spans", "expected"), OFFSETS.values(), ids=OFFSETS.keys())
def test_tokens_are_marked(
    offsets: list[tuple[int, int]], spans: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    assert mask_tokens(offsets, spans) == expected


def test_the_token_that_begins_a_text_is_known_wherever_it_comes_from() -> None:
    lists = join_tokens([tokens(BOS, 5), tokens(), tokens(5)])
    assert lists.begin_with(tokens(BOS)).tolist() == [True, False, False]
    assert lists.begin_with(None).tolist() == [False, False, False]
    marked = replace(lists, before=tokens(BOS), after=tokens(9))
    assert marked.begin_with(tokens(BOS)).tolist() == [True, True, True]
    assert marked.split() == [tokens(BOS, BOS, 5, 9), tokens(BOS, 9), tokens(BOS, 5, 9)]
    assert marked.lengths.tolist() == [4, 2, 3]
