"""What looks secret in a text is masked, wherever the text goes on to: a log, a result, a status."""

import re

MASK = "***"

_SECRETS = (
    # user:password@host
    (re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"), MASK),
    # Not `num_tokens=7`, but password=..., "secret_access_key": "...", Authorization: Bearer ...
    (
        re.compile(
            r"(?i)((?:[\w-]*(?:secret|token(?!s|iz)|password|passwd|credential|api[-_]?key|access[-_]?key|signature)[\w-]*"
            r"|authorization)[\"']?\s*[=:]\s*[\"']?(?:bearer\s+|basic\s+)?)[^\s\"',;&]+"
        ),
        rf"\1{MASK}",
    ),
    # Tokens that tell by their looks what they are.
    (re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|glpat-|xox[abp]-|nvapi-|AKIA|ASIA|eyJ)[\w.\-]{8,}"), MASK),
)


def mask_secrets(text: str) -> str:
    """Returns the text without what is a secret by its looks, or by the word before it."""
    for pattern, mask in _SECRETS:
        text = pattern.sub(mask, text)
    return text
