"""What is quoted of a log is short and holds no secret."""

import json

import pytest

from customizer_operator.plan.last_lines import quote_log


@pytest.mark.parametrize(
    ("line", "quoted"),
    [
        ("RuntimeError: CUDA error: device-side assert triggered",) * 2,
        ("HF_TOKEN=hf_abcdefghijklmnop", "HF_TOKEN=***"),
        ("got hf_abcdefghijklmnop from the Secret", "got *** from the Secret"),
        ('{"secret_access_key": "abc/def"}', '{"secret_access_key": "***"}'),
        ("aws_secret_access_key = abc", "aws_secret_access_key = ***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("GET https://user:pa55@s3.test/bucket", "GET https://***@s3.test/bucket"),
        ("X-Amz-Signature=0123abc&x=1", "X-Amz-Signature=***&x=1"),
        ("key AKIAIOSFODNN7EXAMPLE is wrong", "key *** is wrong"),
        ("it was wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "it was ***"),
        ("sha256:" + "0a" * 32, "sha256:" + "0a" * 32),
        ("/workspace/checkpoints/step_100/model.safetensors",) * 2,
        ("\x1b[31mred\x1b[0m \x07bell", "red bell"),
    ],
    ids=[
        "words", "variable", "hub token", "json", "ini", "header", "address", "signed address", "access key",
        "secret key", "digest", "path", "colours",
    ],
)  # fmt: skip
def test_secrets_are_masked_and_words_are_kept(line: str, quoted: str) -> None:
    assert quote_log(line) == quoted


def test_the_last_lines_count_and_empty_ones_do_not() -> None:
    lines = quote_log("\n".join(f"line {number}\n" for number in range(100)))
    assert lines is not None
    assert lines.splitlines()[0] == "line 80"
    assert lines.splitlines()[-1] == "line 99"


def test_an_entry_of_the_trainer_s_log_is_quoted_as_people_read_it() -> None:
    said = {"time": "2026-01-01T00:00:00Z", "level": "ERROR", "logger": "x", "message": "it failed", "rank": 3}
    trace = "Traceback (most recent call last):\n  File x\nValueError: no"
    log = [json.dumps({**said, "exception": trace}), "Segmentation fault", json.dumps({**said, "level": "INFO"})]
    told = ["ERROR rank 3: it failed", *trace.splitlines(), "Segmentation fault", "rank 3: it failed"]
    assert quote_log("\n".join(log)) == "\n".join(told)


def test_a_quote_is_bounded() -> None:
    assert len(quote_log("\n".join(["wordy " * 500] * 50)) or "") <= 2048


def test_nothing_is_quoted_of_nothing() -> None:
    assert quote_log("\n \n") is None
