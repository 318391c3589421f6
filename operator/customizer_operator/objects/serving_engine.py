"""What the server is told: arguments of vLLM, or the variables of exactly one generation of NVIDIA's NIM."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from customizer_contract.paths import CHAT_TEMPLATE, MODEL_STORE, SERVED_ADAPTERS, SERVED_MODEL
from customizer_operator.api.model_runtime import PORT, Runtime

Generation = Literal["V1", "V2", "Engine"]

CACHE = "/cache"
"""Writable disk of the server; the weights themselves are mounted read-only."""

_KERNELS = "/opt/cache"
"""Where native images keep the kernels that they compile."""

_VERSION = re.compile(r"^v?(\d+)(\.|$|-)")
_COMMON = {
    "HF_HUB_OFFLINE": "1",
    "HOME": "/tmp",  # noqa: S108  (an emptyDir of the pod)
    "TMPDIR": "/tmp",  # noqa: S108
    "USER": "server",
}
_REFRESH_SECONDS = 5
"""Between two looks of a NIM at its folder of adapters."""
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What the engines accept as the largest rank; an adapter of another rank takes the next."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What lies in the model store, and the names under which it is asked for."""

    name: str
    """Name of the tuned model, or of the only one."""
    base_name: str | None = None
    """Name of the base model beside the adapter `name`; None if there is no adapter."""
    rank: int | None = None
    """Rank of the adapter."""
    trust_remote_code: bool = False
    base_in_image: bool = False
    """Whether the server brings the base model of the adapter by itself."""
    address: str | None = None
    """Where in S3 the server reads the full weights by itself; None if they lie in the model store."""

    @property
    def main_name(self) -> str:
        """Name of the full weights."""
        return self.base_name or self.name

    @property
    def adapter_path(self) -> str:
        """Folder of the adapter."""
        return str(SERVED_ADAPTERS / self.name)


@dataclass(frozen=True, slots=True)
class Engine:
    """How the server's container is started and asked."""

    arguments: list[str]
    variables: dict[str, str]
    live: str
    ready: str
    user: int
    group: int
    store: str = str(MODEL_STORE)
    """Where the server looks for the model store."""
    kernels: str | None = None
    """Folder of the image to which it writes the kernels that it compiles; None: it writes below CACHE."""
    downloads: str | None = None
    """Folder to which it brings its base model by itself; None: it finds all weights in the model store."""


def find_generation(runtime: Runtime, image: str) -> Generation:
    """Returns the generation of a NIM image: as asked for, else by its name, else by its tag; V1 if none tells."""
    if runtime.generation != "Auto":
        return runtime.generation
    path, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    if path.endswith("model-free-nim"):
        return "V2"
    version = _VERSION.match(tag)
    return "V2" if path != "llm-nim" and version is not None and int(version[1]) >= 2 else "V1"


def find_contradiction(runtime: Runtime, image: str) -> str | None:
    """Returns what the spec asks of an image that its generation does not do, and what to change.

    The schema refuses the same where the spec itself names the generation.
    """
    if runtime.type == "VLLM":
        return None
    generation = find_generation(runtime, image)
    if generation == "Engine" and runtime.lora is not None:
        return f"{image} is a NIM of generation Engine, which serves full weights only: remove runtime.lora."
    if generation != "V1":
        return None
    found = f"{image} is a NIM of generation V1, which"
    otherwise = "or set runtime.generation to V2 if it is one."
    if runtime.args:
        return f"{found} takes no arguments: remove runtime.args, {otherwise}"
    if runtime.quantization is not None:
        return f"{found} quantizes by its profile: use runtime.profile in place of quantization, {otherwise}"
    return None


def build_engine(runtime: Runtime, image: str, weights: Weights, cache: str = CACHE) -> Engine:
    """Builds the start of the server; the user's arguments come last, and the user's variables win."""
    common = _COMMON | {"HF_HOME": f"{cache}/huggingface", "VLLM_CACHE_ROOT": f"{cache}/vllm"}
    if runtime.type == "VLLM":
        return _vllm(runtime, weights, common)
    generation = find_generation(runtime, image)
    downloads = f"{cache}/nim"
    variables = common | {"NIM_CACHE_PATH": downloads}
    store = str(MODEL_STORE)
    if generation == "Engine":
        # These images want their model below /model.
        store = "/model"
        path = f"{store}/{SERVED_MODEL.relative_to(MODEL_STORE)}"
        variables |= {"NIM_ENGINE_MODEL_PATH": path, "NIM_ENGINE_MODEL_NAME": weights.main_name}
    else:
        variables["NIM_SERVED_MODEL_NAME"] = weights.main_name
        if weights.base_name is not None or runtime.lora is not None:
            variables["NIM_PEFT_SOURCE"] = str(SERVED_ADAPTERS)
        if runtime.lora is not None:
            variables["NIM_PEFT_REFRESH_INTERVAL"] = str(_REFRESH_SECONDS)
        if runtime.profile is not None:
            variables["NIM_MODEL_PROFILE"] = runtime.profile
        variables |= _v1(runtime, weights) if generation == "V1" else _v2(runtime, weights)
    return Engine(
        [],
        _merge(variables, runtime),
        live="/v1/health/live",
        ready="/v1/health/ready",
        user=1000,
        group=2000,
        store=store,
        kernels=_KERNELS if generation == "Engine" else None,
        downloads=downloads if weights.base_in_image else None,
    )


def _vllm(runtime: Runtime, weights: Weights, common: Mapping[str, str]) -> Engine:
    arguments = ["--model", str(SERVED_MODEL), "--port", str(PORT), "--served-model-name", weights.main_name]
    if weights.base_name is not None:
        arguments += ["--lora-modules", f"{weights.name}={weights.adapter_path}"]
    variables = {**common, "VLLM_NO_USAGE_STATS": "1"}
    if runtime.lora is not None:
        variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    return Engine(
        [*arguments, *_engine_options(runtime, weights), *(runtime.args or [])],
        _merge(variables, runtime),
        live="/health",
        ready="/health",
        user=10001,
        group=10001,
    )


def find_rank(runtime: Runtime, weights: Weights) -> int | None:
    """Returns the largest rank that the server takes; None if it takes no adapters."""
    ranks = [weights.rank or 0, runtime.lora.max_rank if runtime.lora else 0]
    return _largest_rank(max(ranks)) if any(ranks) else None


def _v1(runtime: Runtime, weights: Weights) -> dict[str, str]:
    variables = _v1_model(runtime, weights)
    rank = find_rank(runtime, weights)
    if rank is not None:
        variables["NIM_MAX_LORA_RANK"] = str(rank)
    if runtime.lora is not None:
        variables["NIM_MAX_GPU_LORAS"] = str(runtime.lora.max_gpu_adapters)
        variables["NIM_MAX_CPU_LORAS"] = str(runtime.lora.max_cpu_adapters)
    if runtime.max_model_len is not None:
        variables["NIM_MAX_MODEL_LEN"] = str(runtime.max_model_len)
    if runtime.tensor_parallel_size > 1:
        variables["NIM_TENSOR_PARALLEL_SIZE"] = str(runtime.tensor_parallel_size)
    if runtime.tool_call_parser is not None:
        variables |= {"NIM_ENABLE_AUTO_TOOL_CHOICE": "1", "NIM_TOOL_CALL_PARSER": runtime.tool_call_parser}
    if runtime.chat_template is not None:
        variables["NIM_CHAT_TEMPLATE"] = str(CHAT_TEMPLATE)
    if weights.trust_remote_code:
        variables |= {"NIM_FORCE_TRUST_REMOTE_CODE": "1", "NIM_TRUST_CUSTOM_CODE": "1"}
    return variables


def _v1_model(runtime: Runtime, weights: Weights) -> dict[str, str]:
    """Says which weights a NIM of 1.x serves: a multi-LLM one takes any, one made for a model has its own."""
    if runtime.type == "MultiLLM":
        return {"NIM_MODEL_NAME": str(SERVED_MODEL), "NIM_MODEL_PROFILE": runtime.profile or "vllm"}
    if weights.base_in_image:
        return {}
    # NeMo sets both to the path. The engine that is built of the weights is kept under the custom name.
    variables = dict.fromkeys(("NIM_FT_MODEL", "NIM_CUSTOM_MODEL"), str(SERVED_MODEL))
    variables["NIM_CUSTOM_MODEL_NAME"] = weights.main_name
    # An id does not tell whether it is one of TensorRT-LLM, and neither does no profile at all.
    if runtime.profile is not None and "tensorrt_llm" in runtime.profile:
        variables |= {"NIM_USE_TRTLLM_LEGACY_BACKEND": "1", "NIM_DISABLE_TRTLLM_PYTORCH_RT": "1"}
    return variables


def _v2(runtime: Runtime, weights: Weights) -> dict[str, str]:
    options = [*_engine_options(runtime, weights), *(runtime.args or [])]
    variables = {"NIM_MODEL_PATH": weights.address or str(SERVED_MODEL)}
    return variables | ({"NIM_PASSTHROUGH_ARGS": shlex.join(options)} if options else {})


def _engine_options(runtime: Runtime, weights: Weights) -> list[str]:
    options = []
    rank = find_rank(runtime, weights)
    if rank is not None:
        options += ["--enable-lora", "--max-lora-rank", str(rank)]
    if runtime.lora is not None:
        options += ["--max-loras", str(runtime.lora.max_gpu_adapters)]
        options += ["--max-cpu-loras", str(runtime.lora.max_cpu_adapters)]
    if runtime.max_model_len is not None:
        options += ["--max-model-len", str(runtime.max_model_len)]
    if runtime.tensor_parallel_size > 1:
        options += ["--tensor-parallel-size", str(runtime.tensor_parallel_size)]
    if runtime.quantization is not None:
        options += ["--quantization", runtime.quantization]
    if runtime.tool_call_parser is not None:
        options += ["--enable-auto-tool-choice", "--tool-call-parser", runtime.tool_call_parser]
    if runtime.chat_template is not None:
        options += ["--chat-template", str(CHAT_TEMPLATE)]
    if weights.trust_remote_code:
        options.append("--trust-remote-code")
    return options


def _largest_rank(rank: int) -> int:
    return next((allowed for allowed in _RANKS if allowed >= rank), rank)


def _merge(variables: Mapping[str, str], runtime: Runtime) -> dict[str, str]:
    chosen = {entry.name for entry in runtime.env or []}
    return {name: value for name, value in variables.items() if name not in chosen}
