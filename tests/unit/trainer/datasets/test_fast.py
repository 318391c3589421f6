"""The fast tokenizer gives exactly the tokens that the model's own gives, or leaves a text to it."""

from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers

from customizer_trainer.datasets.fast import FastTokenizer, find_fast
from customizer_trainer.datasets.tokenizing import TextEncoder, Tokenizer

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


def make(tokenizer: Tokenizer, name: str) -> tuple[Any, FastTokenizer]:
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    pre_tokenizer, normalizer = PRE_TOKENIZERS[name]
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        backend.normalizer = normalizer
    fast = find_fast(backend)
    assert fast is not None
    return backend, fast


TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from("abcXYZ 019 \n\t\r'sStTlL.,!?-_/()<>|{}\"é—\u2019“•€Жß²ª́ͅ \x1f\x85 日本한ก"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_tokens_are_exact(tokenizer: Tokenizer, name: str) -> None:
    backend, fast = make(tokenizer, name)

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(TEXTS)
    def check(text: str) -> None:
        if fast.takes(text):
            exact = backend.encode(text, add_special_tokens=False).ids
            assert array("i", fast.encode([text])[0]).tolist() == exact

    check()


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_all_texts_are_taken_at_once_if_each_is(tokenizer: Tokenizer, name: str) -> None:
    _, fast = make(tokenizer, name)

    @settings(max_examples=100, deadline=None, derandomize=True, database=None)
    @given(st.lists(TEXTS, min_size=1, max_size=4))
    def check(texts: list[str]) -> None:
        found = fast.encode_all(texts)
        assert (found is not None) == all(map(fast.takes, texts))
        assert found is None or found.split() == fast.encode(texts)

    check()
    assert fast.encode_all(["a", "\ud800"]) is None


def test_scripts_are_proven_when_they_are_met(tokenizer: Tokenizer) -> None:
    _, fast = make(tokenizer, "Qwen")
    assert all(map(fast.takes, ("plain, naïve — “quoted” 😀", "日本語", "한국어", "สวัสดี")))
    assert not fast.takes("e\u0301")  # One character in another form: libraries compose by different tables.
    assert not fast.takes("\ud800")


def test_a_character_that_the_two_read_differently_is_left_to_the_model_s_own(tokenizer: Tokenizer) -> None:
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    fast = find_fast(backend)
    assert fast is not None
    backend.normalizer = normalizers.Replace("ø", "o")  # Unknown to the fast one, which was made before.
    assert fast.takes("é")
    assert not fast.takes("ø")


def test_spans_are_found_by_the_bytes_of_tokens(tokenizer: Tokenizer) -> None:
    from customizer_trainer.datasets.encoding import mask_tokens

    text = "<|im_start|>user\n naïve 日本 “x”<|im_end|>\n<|im_start|>assistant\n  été 😀 done<|im_end|>\n"
    _, fast = make(tokenizer, "GPT-2")
    spans = [(start, end) for start in range(len(text)) for end in range(start + 1, len(text) + 1)]
    found = fast.encode_spans(text, spans)
    assert found is not None
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    exact = [mask_tokens(offsets, [span]) for span in spans]
    assert [[stretch] if stretch[0] < stretch[1] else [] for stretch in found[1]] == exact


def test_tokens_of_the_vocabulary_s_own_are_found_in_texts(tokenizer: Tokenizer) -> None:
    backend, fast = make(tokenizer, "GPT-2")
    text = "say <|im_end|> twice<|im_end|>\n<|im_start|>"
    assert array("i", fast.encode([text])[0]).tolist() == backend.encode(text, add_special_tokens=False).ids


def test_a_tokenizer_that_the_fast_one_does_not_know_is_left_alone(tokenizer: Tokenizer) -> None:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models

    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    backend.model = models.WordLevel({"a": 0}, unk_token="a")
    assert find_fast(backend) is None


def test_a_tokenizer_that_drops_what_it_does_not_match_is_read_alike_or_left_alone(tokenizer: Tokenizer) -> None:
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    for pre_tokenizer in (pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=True), cut(r"\p{L}+")):
        backend.pre_tokenizer = pre_tokenizer
        fast = find_fast(backend)
        text = "  one 2, three"
        assert fast is None or fast.encode([text]) == [array("i", backend.encode(text).ids).tobytes()]


def test_mixed_texts_keep_their_order(tokenizer: Tokenizer) -> None:
    texts = ["plain", "\ue000 of one's own", "", "again", "한국", "e\u0301"]
    fast, exact = (TextEncoder(tokenizer, fast=fast).encode(texts).split() for fast in (True, False))
    assert fast == exact
