"""Which reason of the catalogue an exception of a training process is. By type and text; imports no backend."""

import errno

from customizer_contract.errors import CustomizerError, Reason

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc")
_DISK_FULL = ("no space left on device", "disk quota exceeded", "unexpected pos", "pytorchstreamwriter failed writing")
_PEER_LOST = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "timed out waiting",
    "wait timeout",
    "nccl",
    "process group watchdog",
    "tcpstore",
    "socket timeout",
)


def classify(error: BaseException) -> tuple[Reason, str]:
    """Returns the reason and the last line that a person would read."""
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, CustomizerError):
        return error.reason, str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Reason.OUT_OF_MEMORY, message
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Reason.DISK_FULL, message
    text = str(error).lower()
    for reason, signs in (
        (Reason.OUT_OF_MEMORY, _OUT_OF_MEMORY),
        (Reason.DISK_FULL, _DISK_FULL),
        (Reason.PEER_LOST, _PEER_LOST),
    ):
        if isinstance(error, (RuntimeError, OSError)) and any(sign in text for sign in signs):
            return reason, message
    return Reason.CRASHED, message
