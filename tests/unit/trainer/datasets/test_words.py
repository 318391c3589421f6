"""Words give exactly the tokens that the tokenizer gives."""

from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers

from customizer_trainer.datasets.tokenizing import TextEncoder, Tokenizer
from customizer_trainer.datasets.words import Words, find_words, translate

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace("{1,3}", "")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def cut(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


PRE_TOKENIZERS: dict[str, tuple[Any, Any]] = {
    "GPT-2": (None, None),
    "Llama 3": (cut(LLAMA3), None),
    "Qwen": (cut(QWEN), normalizers.NFC()),
    "GPT-4o": (cut(O200K), None),
}


def make(tokenizer: Tokenizer, name: str) -> tuple[Any, Words]:
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    pre_tokenizer, normalizer = PRE_TOKENIZERS[name]
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        backend.normalizer = normalizer
    words = find_words(backend)
    assert words is not None
    return backend, words


TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from("abcXYZ 019 \n\t\r'sStTlL.,!?-_/()<>|{}\"é—\u2019“•€Жß²ª́ͅ \x1f\x85 "),
        st.characters(max_codepoint=0x2BFF, exclude_categories=["Cs"]),
    ),
    max_size=60,
)


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_words_are_exact(tokenizer: Tokenizer, name: str) -> None:
    backend, words = make(tokenizer, name)

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(TEXTS)
    def check(text: str) -> None:
        if words.takes(text):
            exact = backend.encode(text, add_special_tokens=False).ids
            assert array("i", words.encode(text)).tolist() == exact

    check()


def test_texts_of_doubtful_characters_are_left_to_the_tokenizer(tokenizer: Tokenizer) -> None:
    _, words = make(tokenizer, "Qwen")
    assert words.takes("plain, naïve — “quoted” 😀")
    assert not words.takes("日本語")
    assert not words.takes("e\u0301")


def test_tokens_of_the_vocabulary_s_own_are_found_in_texts(tokenizer: Tokenizer) -> None:
    backend, words = make(tokenizer, "GPT-2")
    text = "say <|im_end|> twice<|im_end|>\n<|im_start|>"
    assert array("i", words.encode(text)).tolist() == backend.encode(text, add_special_tokens=False).ids


def test_a_tokenizer_of_another_kind_is_left_alone(tokenizer: Tokenizer) -> None:
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    assert find_words(backend) is None
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert find_words(backend) is None
    backend.pre_tokenizer = cut(r"\p{L}+")  # Digits would be lost.
    assert find_words(backend) is None


def test_sets_are_written_out() -> None:
    assert translate(r"a[^\s]\S").startswith("a[^\\x09")
    with pytest.raises(KeyError):
        translate(r"[\S]")


def test_mixed_texts_keep_their_order(tokenizer: Tokenizer) -> None:
    texts = ["plain", "日本", "", "again", "한국"]
    assert TextEncoder(tokenizer, fast=True).encode(texts) == TextEncoder(tokenizer, fast=False).encode(texts)
