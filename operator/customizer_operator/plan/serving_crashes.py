"""Why a server ended, by its last words: the engines are not ours and have no exit codes for it, so that only the
remedy, never what is done, follows from their text."""

import re
from dataclasses import dataclass

from customizer_contract.errors import Reason
from customizer_operator.api.serving_reasons import ServingReason

_LAST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Crash:
    """What is told of it."""

    reason: str
    message: str


_KNOWN: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        # The banner of a NIM names the licences that it is under.
        re.compile(
            r"NGC_API_KEY|NGC_CLI_API_KEY|api\.ngc\.nvidia\.com.*(401|403)|"
            r"\b(no|missing|invalid|expired)( valid)? licen[cs]e|"
            r"\blicen[cs]e\b.{0,40}\b(missing|invalid|not valid|expired|not found|denied|rejected|failed)\b",
            re.IGNORECASE,
        ),
        ServingReason.LICENCE_MISSING,
        "name a Secret that holds a valid key of NGC in runtime.ngcSecretRef.",
    ),
    (
        re.compile(
            r"(no|not|in)[ -]?(a )?(valid|compatible|found).{0,40}profile|profile.{0,80}(not found|invalid|incom"
            r"patible|not compatible|does not exist|not supported)",
            re.IGNORECASE,
        ),
        ServingReason.PROFILE_UNKNOWN,
        "correct or remove runtime.profile, or choose nodes whose GPUs it is made for by spec.nodeSelector.",
    ),
    (
        re.compile(
            r"CUDA out of memory|OutOfMemoryError|No available memory for the cache blocks|"
            r"larger than the (available KV cache memory|maximum number of tokens that can be stored)"
        ),
        Reason.OUT_OF_MEMORY,
        "lower runtime.maxModelLen, raise runtime.tensorParallelSize, or quantize.",
    ),
    (
        re.compile(
            r"No CUDA GPUs are available|Found no NVIDIA driver|libcuda\.so|Failed to infer device type|"
            r"no NVIDIA GPU",
            re.IGNORECASE,
        ),
        Reason.DEVICE_UNAVAILABLE,
        "check the node's driver and device plugin, or serve a small model with runtime.device: cpu.",
    ),
)


def explain_crash(exit_code: object, cause: str, words: str, restarts: int) -> Crash:
    """Tells why a server ended, and what to change where that is known."""
    if cause == "OOMKilled":
        return Crash(
            Reason.OUT_OF_MEMORY,
            "A server was killed because memory did not suffice: raise resources.limits.memory, "
            "or lower runtime.maxModelLen.",
        )
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    # What was said last is why it ended, whatever it complained of before.
    for line in reversed(lines):
        for pattern, reason, remedy in _KNOWN:
            if pattern.search(line):
                return Crash(reason, f"A server ended; it said: {line[:_LAST_WORDS]} What to do: {remedy}")
    said = f" It said last: {lines[-1][:_LAST_WORDS]}" if lines else ""
    return Crash(
        ServingReason.SERVER_CRASHING,
        f"A server ended with exit code {exit_code}, after {restarts} restarts.{said}"
        " The log of its container tells more.",
    )
