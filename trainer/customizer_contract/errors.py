"""Every reason for which a container of ours gives up; `catalogue` tells what to do about each."""

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """Exit codes of the trainer. Anything else is a crash, which may be retried."""

    DONE = 0
    CRASHED = 1
    BAD_JOB = 64
    BAD_INPUT = 65
    UNAVAILABLE = 69
    PREEMPTED = 75


class Reason(StrEnum):
    """Why a container ended without having done its work."""

    JOB_FILE_INVALID = "JobFileInvalid"
    DATASET_NOT_FOUND = "DatasetNotFound"
    DATASET_INVALID = "DatasetInvalid"
    DATASET_EMPTY = "DatasetEmpty"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_INVALID = "ModelInvalid"
    REPOSITORY_GATED = "RepositoryGated"
    ARCHITECTURE_UNSUPPORTED = "ArchitectureUnsupported"
    TOKENIZER_INVALID = "TokenizerInvalid"
    CHAT_TEMPLATE_MISSING = "ChatTemplateMissing"
    TEACHER_UNFIT = "TeacherUnfit"
    LORA_UNFIT = "LoraUnfit"
    SEQUENCE_TOO_LONG = "SequenceTooLong"
    PARALLELISM_INVALID = "ParallelismInvalid"
    MEMORY_INSUFFICIENT = "MemoryInsufficient"
    OUTPUT_NOT_FOUND = "OutputNotFound"
    OUTPUT_EXISTS = "OutputExists"
    ACCESS_DENIED = "AccessDenied"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    ARTIFACT_NOT_FOUND = "ArtifactNotFound"
    ARTIFACT_INVALID = "ArtifactInvalid"
    ADAPTER_INCOMPATIBLE = "AdapterIncompatible"
    ADAPTER_NOT_LOADED = "AdapterNotLoaded"
    EVALUATION_FAILED = "EvaluationFailed"
    DEVICE_UNAVAILABLE = "DeviceUnavailable"
    OUT_OF_MEMORY = "OutOfMemory"
    GPU_OUT_OF_MEMORY = "GpuOutOfMemory"
    DISK_FULL = "DiskFull"
    TRAINING_DIVERGED = "TrainingDiverged"
    PREEMPTED = "Preempted"
    CHECKPOINT_MISMATCH = "CheckpointMismatch"
    INPUTS_CHANGED = "InputsChanged"
    RESULT_MISMATCH = "ResultMismatch"
    RENDEZVOUS_TIMEOUT = "RendezvousTimeout"
    COLLECTIVE_TIMEOUT = "CollectiveTimeout"
    PEER_LOST = "PeerLost"
    CRASHED = "Crashed"


MISSED_ANOTHER = frozenset({Reason.PEER_LOST, Reason.RENDEZVOUS_TIMEOUT, Reason.COLLECTIVE_TIMEOUT})
"""What a pod says that only missed another one: if any other pod gives a reason, that one counts."""


class CustomizerError(Exception):
    """A failure that the catalogue knows; the command line turns it into a result and an exit code."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        field: str | None = None,
        rank: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.rank = rank
        self.file = file
        self.line = line
        self.field = field
