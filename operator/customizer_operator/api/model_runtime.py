"""The server of a ModelDeployment: which engine, which image, and what it is told."""

from typing import Annotated, Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_operator.api.common import Name, ServedName

PORT = 8000
"""Port of the server in its pods."""

_OURS = (
    "NIM_CHAT_TEMPLATE",
    "NIM_CUSTOM_MODEL",
    "NIM_CUSTOM_MODEL_NAME",
    "NIM_ENGINE_MODEL_NAME",
    "NIM_ENGINE_MODEL_PATH",
    "NIM_FT_MODEL",
    "NIM_HTTP_API_PORT",
    "NIM_MAX_LORA_RANK",
    "NIM_MODEL_NAME",
    "NIM_MODEL_PATH",
    "NIM_PASSTHROUGH_ARGS",
    "NIM_PEFT_REFRESH_INTERVAL",
    "NIM_PEFT_SOURCE",
    "NIM_SERVED_MODEL_NAME",
    "NIM_SERVER_PORT",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    "VLLM_API_KEY",
)
_OUR_ARGUMENTS = (
    "model",
    "served-model-name",
    "port",
    "host",
    "root-path",
    "api-key",
    "lora-modules",
    "max-lora-rank",
    "config",
)


def _build_beginnings(name: str) -> str:
    """Returns a pattern of whatever a name begins with, for that is enough for vLLM; it takes _ for - as well."""
    pattern = ""
    for letter in reversed(name):
        pattern = f"({'[-_]' if letter == '-' else letter}{pattern})?"
    return pattern


_OURS_SPELLED = f"^--({'|'.join(_build_beginnings(name) for name in _OUR_ARGUMENTS)})([=.]|$)"
"""Also matches `--` alone, after which anything is taken for another model."""

Argument = Annotated[str, Field(min_length=1, max_length=1024)]


class SecretKeySelector(Model):
    """A key of a Secret of the same namespace."""

    name: Name
    """Name of the Secret."""
    key: str = Field(min_length=1, max_length=253)
    """Key within it."""


class ValueFrom(Model):
    """Where a variable's value comes from."""

    secret_key_ref: SecretKeySelector
    """A Secret's key."""


class EnvVar(Model):
    """An environment variable."""

    name: str = Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)
    """Name of the variable."""
    value: str | None = Field(None, max_length=4096)
    """Its value. Never a secret: use valueFrom."""
    value_from: ValueFrom | None = None
    """A Secret that holds the value."""

    cel_rules = (
        CelRule(
            "has(self.value) != has(self.valueFrom)",
            "exactly one of value and valueFrom must be given",
        ),
        CelRule(
            f"!(self.name in {list(_OURS)!r})",
            "the operator sets this variable from spec; use runtime.servedModelName, runtime.apiKeySecretRef, "
            "runtime.lora, runtime.args or spec.model",
        ),
    )


class NgcSecretReference(Model):
    """A Secret with a key of NGC."""

    name: Name
    """Name of the Secret."""
    key: str = Field("NGC_API_KEY", min_length=1, max_length=253)
    """Key within it."""


class ApiKeyReference(Model):
    """A Secret with the key of a server."""

    name: Name
    """Name of the Secret."""
    key: str = Field("API_KEY", min_length=1, max_length=253)
    """Key within it."""


class Lora(Model):
    """Room for adapters that come and go while the server runs. To change it restarts the server."""

    max_rank: Literal[8, 16, 32, 64, 128, 256] = 32
    """The largest rank of an adapter. More than is needed costs memory and speed."""
    max_gpu_adapters: int = Field(8, ge=1, le=128)
    """Adapters that requests of one batch may use; each takes memory of the GPU."""
    max_cpu_adapters: int = Field(128, ge=1, le=1024)
    """Adapters that are kept in memory of the host, from where they come to the GPU when they are asked for."""

    cel_rules = (
        CelRule(
            "self.maxCpuAdapters >= self.maxGpuAdapters",
            "maxCpuAdapters must be at least maxGpuAdapters: what is on the GPU is kept on the host too",
        ),
    )


class Runtime(Model):
    """The server."""

    type: Literal["MultiLLM", "ModelSpecificNIM", "VLLM"]
    """MultiLLM: NVIDIA's multi-LLM NIM, which serves any Hugging Face architecture. ModelSpecificNIM: a NIM made for
    one model, which serves full weights of its architecture, or adapters of it. VLLM: the open image of vLLM."""
    image: str | None = Field(None, min_length=1, max_length=512)
    """Image of the server. Default: the one that the operator was installed with for this type."""
    generation: Literal["Auto", "V1", "V2", "Engine"] = "Auto"
    """Whose variables a NIM image obeys: those of 1.x, of 2.x, or the NIM_ENGINE_ ones of native images. Auto tells V1
    from V2 by the image's name and tag; only its labels tell a native one, so Engine must be written."""
    served_model_name: ServedName | None = None
    """Name of the tuned model in requests. Default: the artifact's name; of a base model, that of the deployment."""
    max_model_len: int | None = Field(None, ge=16)
    """Longest sequence in tokens, prompt and answer together. Default: what the model allows."""
    tensor_parallel_size: int = Field(1, ge=1, le=16)
    """GPUs that share the model in each replica."""
    profile: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$", max_length=256)
    """Profile of a NIM: its name or id. Default: vllm for a MultiLLM of 1.x, else what the image chooses. Full weights
    on TensorRT-LLM in a ModelSpecificNIM of 1.x need its older backend, which is chosen if the name holds tensorrt_llm.
    With an id, or the image's choice, set NIM_USE_TRTLLM_LEGACY_BACKEND and NIM_DISABLE_TRTLLM_PYTORCH_RT to 1 by
    env."""
    quantization: str | None = Field(None, pattern="^[a-z0-9][a-z0-9_-]*$", max_length=64)
    """How the engine quantizes the weights while it loads them: fp8, for example. Default: as they are stored."""
    tool_call_parser: str | None = Field(None, pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)
    """The engine's parser for tool calls: hermes, llama3_json, ... Default: tool calls stay text."""
    chat_template: str | None = Field(None, min_length=1, max_length=32768)
    """A Jinja chat template in place of the tokenizer's own."""
    ngc_secret_ref: NgcSecretReference | None = None
    """The key with which a NIM brings its profile from NGC and proves its licence."""
    api_key_secret_ref: ApiKeyReference | None = None
    """What requests must show as a bearer token. It is read when a server starts: to change it, restart the servers.
    Default: whoever reaches the server is answered. Not for a NIM, which checks no keys."""
    lora: Lora | None = None
    """Room for spec.adapters. Default: none, and only an adapter in spec.model is served."""
    device: Literal["gpu", "cpu"] | None = None
    """What the server computes on. Default: that of the job in customizationJobRef, else gpu."""
    args: list[Argument] | None = Field(None, max_length=32)
    """More arguments for the engine; they win over the operator's own. Not for NIM 1.x, which takes none."""
    env: list[EnvVar] | None = Field(None, max_length=32)
    """More environment variables; they win over the operator's own."""

    cel_rules = (
        CelRule(
            "self.type != 'VLLM' || (self.generation == 'Auto' && !has(self.profile) && !has(self.ngcSecretRef))",
            "generation, profile and ngcSecretRef are for NIM images; remove them, or choose another type",
        ),
        CelRule(
            "self.type == 'VLLM' || !has(self.apiKeySecretRef)",
            "a NIM checks no keys: remove apiKeySecretRef and keep strangers out by spec.networkPolicy, or choose "
            "type: VLLM",
        ),
        CelRule(
            "self.type != 'ModelSpecificNIM' || has(self.image)",
            "name the image: a ModelSpecificNIM is made for one model",
        ),
        CelRule(
            "self.generation != 'V1' || !has(self.quantization)",
            "a NIM of generation V1 quantizes by its profile; use runtime.profile",
        ),
        CelRule(
            "self.generation != 'Engine' || (!has(self.args) && !has(self.maxModelLen) && !has(self.profile) && "
            "!has(self.quantization) && !has(self.toolCallParser) && !has(self.chatTemplate))",
            "a NIM of generation Engine is set up by env alone; remove args, maxModelLen, profile, quantization, "
            "toolCallParser and chatTemplate",
        ),
        CelRule(
            "self.generation != 'V1' || !has(self.args) || size(self.args) == 0",
            "a NIM of generation V1 takes no arguments; use env, or type: VLLM",
        ),
        CelRule(
            f"!has(self.args) || !self.args.exists(a, a.matches('{_OURS_SPELLED}'))",
            "the operator sets --model, --served-model-name, --host, --port, --api-key and the --lora-modules, and "
            "none of them may come by --config; use spec.model, runtime.servedModelName, runtime.lora and "
            "runtime.apiKeySecretRef",
        ),
        CelRule(
            "!has(self.args) || size(self.args) == 0 || self.args[0].matches('^--?[A-Za-z]')",
            "args are options: the first must begin with - or --, for anything else would be taken for another model",
        ),
    )
