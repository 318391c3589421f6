"""What is learned, token by token: every line is a token, and whether the model learns to write it."""

import copy
from typing import Any

import pytest

from customizer_trainer.datasets.conversations import Conversation, parse_conversation
from customizer_trainer.datasets.encoding import Sample, encode_conversation, encode_pairs, encode_texts
from customizer_trainer.datasets.prompts import Pair
from customizer_trainer.datasets.tokenizing import TextEncoder, Tokenizer

READ, LEARNED = False, True

# One character is one token here, so that a table is as long as its text; `<...>` are the vocabulary's own.
TURNS = "{% for m in messages %}<|im_start|>{{ m.role[0] }}:{{ m.content }}"
CALLS = "{% for c in m.tool_calls or [] %}[{{ c.function.name }}{{ c.function.arguments | tojson }}]{% endfor %}"
TEMPLATE = (
    "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}"
    + TURNS
    + CALLS
    + "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>a:{% endif %}"
)
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role[0] }}:"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\\n' }}{% endfor %}"
)


@pytest.fixture(params=[False, True], ids=["tokenizer", "fast"])
def encoder(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> TextEncoder:
    """Encodes each character as a token, both ways."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models

    single: Any = copy.deepcopy(tokenizer)
    vocabulary = single.backend_tokenizer.get_vocab(with_added_tokens=True)
    backend = Backend.from_str(single.backend_tokenizer.to_str())
    backend.model = models.BPE(vocab=vocabulary, merges=[])
    single._tokenizer = backend
    single.chat_template = TEMPLATE
    return TextEncoder(single, fast=request.param)


def table(sample: object, encoder: TextEncoder) -> list[tuple[str, bool]]:
    assert isinstance(sample, Sample)
    tokens = [encoder.tokenizer.decode([token]) for token in sample.ids]  # type: ignore[attr-defined]
    return list(zip(tokens, sample.mask, strict=True))


def rows(*parts: tuple[str, bool]) -> list[tuple[str, bool]]:
    """Writes a table out: the vocabulary's own tokens are given alone."""
    return [(token, flag) for text, flag in parts for token in ([text] if text.startswith("<|") else text)]


def test_prompt_and_completion(encoder: TextEncoder) -> None:
    (sample,) = encode_pairs([Pair("2+2=", "4")], encoder, 64).samples()
    assert table(sample, encoder) == [
        ("2", READ),
        ("+", READ),
        ("2", READ),
        ("=", READ),
        ("4", LEARNED),
        ("<|im_end|>", LEARNED),
    ]


def test_a_shortened_prompt_and_its_whole_completion(encoder: TextEncoder) -> None:
    (sample,) = encode_pairs([Pair("so 2+2=", "4")], encoder, 4).samples()
    assert table(sample, encoder) == [("2", READ), ("=", READ), ("4", LEARNED), ("<|im_end|>", LEARNED)]


def test_plain_text(encoder: TextEncoder) -> None:
    (sample,) = encode_texts(["Hi!"], encoder, 64)
    assert table(sample, encoder) == [("H", LEARNED), ("i", LEARNED), ("!", LEARNED), ("<|im_end|>", LEARNED)]


CONVERSATION = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U1"},
    {"role": "assistant", "content": "A1"},
    {"role": "user", "content": "U2"},
    {"role": "assistant", "content": " A2 "},
]
FIRST = rows(
    ("<|im_start|>", READ), ("s:S", READ), ("<|im_end|>", READ), ("\n", READ),
    ("<|im_start|>", READ), ("u:U1", READ), ("<|im_end|>", READ), ("\n", READ),
    ("<|im_start|>", READ), ("a:", READ), ("A1", LEARNED), ("<|im_end|>", LEARNED), ("\n", READ),
)  # fmt: skip
SECOND = rows(
    ("<|im_start|>", READ), ("u:U2", READ), ("<|im_end|>", READ), ("\n", READ),
    ("<|im_start|>", READ), ("a:", READ), (" A2 ", LEARNED), ("<|im_end|>", LEARNED), ("\n", READ),
)  # fmt: skip


@pytest.mark.parametrize("template", [TEMPLATE, MARKED], ids=["by prefixes", "by the template's markers"])
def test_each_turn_of_a_conversation(encoder: TextEncoder, template: str) -> None:
    encoder.tokenizer.chat_template = template
    sample, _ = encode_conversation(Conversation(CONVERSATION), encoder, 64)
    assert table(sample, encoder) == FIRST + SECOND


def test_a_shortened_conversation_keeps_system_message_and_template_whole(encoder: TextEncoder) -> None:
    sample, _ = encode_conversation(Conversation(CONVERSATION), encoder, len(FIRST + SECOND) - 1)
    assert table(sample, encoder) == FIRST[:6] + SECOND


ARGUMENTS: list[object] = [{"x": 1}, '{"x": 1}']


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=["as an object", "as JSON text"])
def test_a_tool_call_is_learned_and_the_tool_s_answer_is_not(encoder: TextEncoder, arguments: object) -> None:
    record = {
        "messages": [
            {"role": "user", "content": "U"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]},
            {"role": "tool", "content": "T", "tool_call_id": "1"},
            {"role": "assistant", "content": "A"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    }
    conversation = parse_conversation(record)
    assert isinstance(conversation, Conversation)
    sample, _ = encode_conversation(conversation, encoder, 64)
    assert table(sample, encoder) == rows(
        ("<f>", READ),
        ("<|im_start|>", READ), ("u:U", READ), ("<|im_end|>", READ), ("\n", READ),
        ("<|im_start|>", READ), ("a:", READ), ('[f{"x": 1}]', LEARNED), ("<|im_end|>", LEARNED), ("\n", READ),
        ("<|im_start|>", READ), ("t:T", READ), ("<|im_end|>", READ), ("\n", READ),
        ("<|im_start|>", READ), ("a:", READ), ("A", LEARNED), ("<|im_end|>", LEARNED), ("\n", READ),
    )  # fmt: skip
