"""Which reason of the catalogue an exception of a training process is. By type and text; imports no backend."""

import errno

from customizer_contract.errors import CustomizerError, Reason

_SIGNS: tuple[tuple[Reason, tuple[str, ...]], ...] = (
    (Reason.GPU_OUT_OF_MEMORY, ("cuda out of memory", "cuda error: out of memory", "cublas_status_alloc_failed")),
    (Reason.OUT_OF_MEMORY, ("out of memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc")),
    (
        Reason.DISK_FULL,
        (
            "no space left on device",
            "disk quota exceeded",
            "unexpected pos",
            "pytorchstreamwriter failed writing",
            "iostream error",
        ),
    ),
    (
        Reason.CHECKPOINT_MISMATCH,
        ("size mismatch", "shape mismatch", "missing key(s) in state_dict", "missing key in checkpoint"),
    ),
    # A file of weights that was cut off.
    (Reason.MODEL_INVALID, ("error while deserializing", "file does not contain tensor")),
    (
        Reason.DEVICE_UNAVAILABLE,
        ("no cuda gpus are available", "cuda driver version is insufficient", "cuda driver initialization failed"),
    ),
    (Reason.TOKENIZER_INVALID, ("index out of range in self", "device-side assert triggered")),
    (Reason.RENDEZVOUS_TIMEOUT, ("clients joined", "rendezvous")),
    (
        Reason.COLLECTIVE_TIMEOUT,
        ("timed out waiting", "wait timeout", "watchdog caught collective operation timeout", "socket timeout"),
    ),
    (
        Reason.PEER_LOST,
        (
            "connection closed by peer",
            "connection reset by peer",
            "connection refused",
            "broken pipe",
            "nccl",
            "process group watchdog",
            "tcpstore",
        ),
    ),
)
"""Words of the libraries, in lower case; the first that is found counts."""


_NOTHING_TO_ADAPT = (
    "optimizer received no trainable parameters",
    "optimizer got an empty parameter list",
    "doesn't have any parameters that require a gradient",
)
"""What is said where an adapter has found no layer: all weights would always be some."""
_KNOWN = frozenset({"CheckpointException", "SafetensorError"})
"""Exceptions of libraries that speak for themselves, beside the builtin ones."""


def classify(error: BaseException) -> tuple[Reason, str]:
    """Returns the reason and the last line that a person would read."""
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, CustomizerError):
        return error.reason, str(error)
    if type(error).__name__ == "OutOfMemoryError":
        return Reason.GPU_OUT_OF_MEMORY, message
    if isinstance(error, MemoryError):
        return Reason.OUT_OF_MEMORY, message
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Reason.DISK_FULL, message
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return Reason.OUT_OF_MEMORY, message
    if type(error).__name__ == "NoMatchingPeftModuleError" or any(sign in str(error) for sign in _NOTHING_TO_ADAPT):
        return Reason.LORA_UNFIT, message
    if isinstance(error, (RuntimeError, OSError, IndexError)) or type(error).__name__ in _KNOWN:
        text = str(error).lower()
        for reason, signs in _SIGNS:
            if any(sign in text for sign in signs):
                return reason, message
    return Reason.CRASHED, message
