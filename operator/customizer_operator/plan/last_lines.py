"""What may be quoted of a log: little, and nothing that looks secret."""

import re

_MOST_LINES = 20
_LONGEST_LINE = 300
_LONGEST_QUOTE = 2048
_MASK = "***"

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\t\n\x20-\x7e\u00a0-\U0010ffff]")
_SECRETS = (
    # user:password@host
    (re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"), _MASK),
    # password=..., "secret_access_key": "...", Authorization: Bearer ...
    (
        re.compile(
            r"(?i)((?:[\w-]*(?:secret|token|password|passwd|credential|api[-_]?key|access[-_]?key|signature)[\w-]*"
            r"|authorization)[\"']?\s*[=:]\s*[\"']?(?:bearer\s+|basic\s+)?)[^\s\"',;&]+"
        ),
        rf"\1{_MASK}",
    ),
    # Tokens that tell by their looks what they are.
    (re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|glpat-|xox[abp]-|nvapi-|AKIA|ASIA|eyJ)[\w.\-]{8,}"), _MASK),
    # Long words of all kinds of characters, such as the secret keys of S3. Digests have one case.
    (re.compile(r"(?<![\w/+=-])(?=[\w/+=-]*[a-z])(?=[\w/+=-]*[A-Z])(?=[\w/+=-]*\d)[\w/+=-]{32,}"), _MASK),
)


def quote_log(text: str) -> str | None:
    """Returns the last lines of a log, short and with secrets masked; None when there are none."""
    lines = [_CONTROL.sub("", line).rstrip() for line in text.splitlines()]
    quoted = [_mask(line)[:_LONGEST_LINE] for line in lines if line][-_MOST_LINES:]
    while len("\n".join(quoted)) > _LONGEST_QUOTE:
        quoted.pop(0)
    return "\n".join(quoted) or None


def _mask(line: str) -> str:
    for pattern, mask in _SECRETS:
        line = pattern.sub(mask, line)
    return line
