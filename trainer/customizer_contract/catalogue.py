"""The error catalogue: what every reason means, what to change, and whether to retry."""

from dataclasses import dataclass

from customizer_contract.errors import ExitCode, Reason


@dataclass(frozen=True, slots=True)
class Entry:
    """A reason of the catalogue."""

    meaning: str
    remedy: str
    exit_code: ExitCode
    retryable: bool


CATALOGUE: dict[Reason, Entry] = {
    Reason.JOB_FILE_INVALID: Entry(
        "The job file does not match this trainer.",
        "Use operator and trainer images of the same release.",
        ExitCode.BAD_JOB,
        retryable=False,
    ),
    Reason.DATASET_NOT_FOUND: Entry(
        "No data at the place that spec.dataset names.",
        "Correct the address, or upload the data.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.DATASET_INVALID: Entry(
        "A record of the data cannot be trained on.",
        "Correct the line that the message names, and what the report at the address there lists.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.DATASET_EMPTY: Entry(
        "No sample is left to train on.",
        "Add records, raise maxSeqLength, or lower validationSplit.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.MODEL_NOT_FOUND: Entry(
        "No model at the place that spec.model names.",
        "Correct the address, or upload the model.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.MODEL_INVALID: Entry(
        "The model's files are incomplete, or of no model that generates text.",
        "Upload a complete Hugging Face checkpoint of a causal language model.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.REPOSITORY_GATED: Entry(
        "The repository is open only to those who have accepted its licence.",
        "Accept it on the repository's page, and name a token of that account with tokenSecretRef.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.ARCHITECTURE_UNSUPPORTED: Entry(
        "The backend has no code for the model's architecture.",
        "Use a model of a supported architecture, or the other backend.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.TOKENIZER_INVALID: Entry(
        "The model's tokenizer cannot be used, or is that of another model.",
        "Upload the tokenizer files that belong to the model (tokenizer.json, tokenizer_config.json).",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.CHAT_TEMPLATE_MISSING: Entry(
        "The data are chat messages but the model's tokenizer has no chat template.",
        "Use an instruct model, or prompt/completion data.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.TEACHER_UNFIT: Entry(
        "The teacher of a distillation does not speak the model's tokens, or cannot take its samples.",
        "Use a teacher of the model's own family, with the same tokenizer and vocab_size.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.LORA_UNFIT: Entry(
        "The model has no layers of which training.lora would adapt any, or not those that it names.",
        "Correct targetModules, excludeModules or the numbers of layers below training.lora by the model's own names.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.SEQUENCE_TOO_LONG: Entry(
        "maxSeqLength is more than the model can take.",
        "Lower training.maxSeqLength to the model's limit.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.PARALLELISM_INVALID: Entry(
        "The model cannot be divided as automodel.parallelism says.",
        "Change the size that the message names.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.MEMORY_INSUFFICIENT: Entry(
        "The training would not fit into the GPUs' memory, by an estimate.",
        "Change what the message names; without compute.gpuMemory nothing is estimated.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.OUTPUT_NOT_FOUND: Entry(
        "The bucket of output.s3.uri does not exist.",
        "Create the bucket, or correct output.s3.uri.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.OUTPUT_EXISTS: Entry(
        "Something that this job has not made lies at output.s3.uri.",
        "Choose another output.s3.uri, or delete what is there.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.ACCESS_DENIED: Entry(
        "The credentials do not allow this access.",
        "Check the Secret that the spec names for it, and the rights of its key.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.STORAGE_UNAVAILABLE: Entry(
        "The object store or the hub did not answer.",
        "Nothing, if it comes back; else check objectStorage.endpointUrl and the network policy.",
        ExitCode.UNAVAILABLE,
        retryable=True,
    ),
    Reason.ARTIFACT_NOT_FOUND: Entry(
        "No published artifact at this address.",
        "Correct the address, or wait until the job has published: manifest.json comes last.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.ARTIFACT_INVALID: Entry(
        "An artifact's files differ from its manifest.",
        "Publish it again; nothing unverified is served.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.ADAPTER_INCOMPATIBLE: Entry(
        "An adapter does not fit the served base model, or the limits of the server.",
        "Train it on the model that is served, or give the server what the adapter needs in runtime.lora.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.ADAPTER_NOT_LOADED: Entry(
        "The server does not take an adapter.",
        "Read the server's log; it is tried again meanwhile.",
        ExitCode.UNAVAILABLE,
        retryable=True,
    ),
    Reason.EVALUATION_FAILED: Entry(
        "A server does not answer the questions of spec.evaluation.",
        "Read the server's log; it is asked again meanwhile.",
        ExitCode.UNAVAILABLE,
        retryable=True,
    ),
    Reason.DEVICE_UNAVAILABLE: Entry(
        "The job asks for GPUs and this pod sees none.",
        "Check the node's driver and device plugin, or set compute.device to cpu for a small model.",
        ExitCode.CRASHED,
        retryable=True,
    ),
    Reason.OUT_OF_MEMORY: Entry(
        "The pod's memory did not suffice.",
        "Raise the memory limit in compute.resources; or use fewer processes a pod, or a smaller micro batch.",
        ExitCode.CRASHED,
        retryable=False,
    ),
    Reason.GPU_OUT_OF_MEMORY: Entry(
        "A GPU's memory did not suffice.",
        "Lower the batch of a GPU (microBatchSize, perDeviceTrainBatchSize; not the global one), then maxSeqLength; or"
        " use LoRA, or more GPUs.",
        ExitCode.CRASHED,
        retryable=False,
    ),
    Reason.DISK_FULL: Entry(
        "The workspace is full.",
        "Raise the ephemeral-storage limit in compute.resources, or give the pods volumes by compute.workspace.",
        ExitCode.CRASHED,
        retryable=True,
    ),
    Reason.TRAINING_DIVERGED: Entry(
        "The loss became NaN or infinite.",
        "Lower optimizer.learningRate, raise warmupSteps, or use precision bf16 or fp32.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.PREEMPTED: Entry(
        "The pod was told to stop and saved a checkpoint first.",
        "Nothing: the next attempt resumes from it.",
        ExitCode.PREEMPTED,
        retryable=True,
    ),
    Reason.CHECKPOINT_MISMATCH: Entry(
        "The checkpoint or the model's weights do not fit the model that the configuration describes.",
        "Upload weights and config.json of the same model; a checkpoint of this job is of another release: start anew.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.INPUTS_CHANGED: Entry(
        "Data or model were changed while the job ran: a pod has fetched others than the job began with.",
        "Put back what was there, or create the job anew; name a revision of a repository, and write changed data to"
        " another address.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.RESULT_MISMATCH: Entry(
        "What was to be published, loaded again, does not do what was trained. Nothing was published.",
        "Read the pod's log, and report it: the checkpoints are still there.",
        ExitCode.BAD_INPUT,
        retryable=False,
    ),
    Reason.RENDEZVOUS_TIMEOUT: Entry(
        "The pods of the attempt did not find one another in time.",
        "Check that the pods may talk to each other (network policy, DNS), and that all of them could start.",
        ExitCode.CRASHED,
        retryable=True,
    ),
    Reason.COLLECTIVE_TIMEOUT: Entry(
        "The pods waited too long for one of them.",
        "Nothing, if it goes on; else check the network between the nodes, and the node of the slowest pod.",
        ExitCode.CRASHED,
        retryable=True,
    ),
    Reason.PEER_LOST: Entry(
        "This pod lost another pod of the job, which ended first.",
        "Read the result of the other pod; if there is none, check the network between the nodes.",
        ExitCode.CRASHED,
        retryable=True,
    ),
    Reason.CRASHED: Entry(
        "The training process ended in a way that the catalogue does not know.",
        "Read the pod's log.",
        ExitCode.CRASHED,
        retryable=True,
    ),
}
