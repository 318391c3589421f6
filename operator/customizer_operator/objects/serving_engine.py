"""What the server is told: arguments of vLLM, or the variables of exactly one generation of NVIDIA's NIM."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from customizer_contract.paths import SERVED_ADAPTERS, SERVED_MODEL
from customizer_operator.api.model_runtime import PORT, Runtime

Generation = Literal["V1", "V2"]

CACHE = "/cache"
"""Writable disk of the server; the weights themselves are mounted read-only."""

_VERSION = re.compile(r"^v?(\d+)(\.|$|-)")
_CACHES = {
    "HF_HOME": f"{CACHE}/huggingface",
    "HF_HUB_OFFLINE": "1",
    "HOME": "/tmp",  # noqa: S108  (an emptyDir of the pod)
    "TMPDIR": "/tmp",  # noqa: S108
    "USER": "server",
}
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


def find_generation(runtime: Runtime, image: str) -> Generation:
    """Returns the generation of a NIM image: as asked for, else by its name, else by its tag; V1 if none tells."""
    if runtime.generation != "Auto":
        return runtime.generation
    path, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    if path.endswith("model-free-nim"):
        return "V2"
    version = _VERSION.match(tag)
    return "V2" if path != "llm-nim" and version is not None and int(version[1]) >= 2 else "V1"


def build_engine(runtime: Runtime, image: str, weights: Weights) -> Engine:
    """Builds the start of the server; the user's arguments come last, and the user's variables win."""
    if runtime.type == "VLLM":
        arguments = ["--model", str(SERVED_MODEL), "--port", str(PORT), "--served-model-name", weights.main_name]
        if weights.base_name is not None:
            arguments += ["--lora-modules", f"{weights.name}={weights.adapter_path}"]
        variables = {**_CACHES, "VLLM_CACHE_ROOT": f"{CACHE}/vllm", "VLLM_NO_USAGE_STATS": "1"}
        return Engine(
            [*arguments, *_engine_options(runtime, weights), *(runtime.args or [])],
            _merge(variables, runtime),
            live="/health",
            ready="/health",
            user=10001,
            group=10001,
        )
    variables = _CACHES | {
        "NIM_CACHE_PATH": f"{CACHE}/nim",
        "NIM_SERVED_MODEL_NAME": weights.main_name,
        "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
    }
    if weights.base_name is not None:
        variables["NIM_PEFT_SOURCE"] = str(SERVED_ADAPTERS)
    own = _v1(runtime, weights) if find_generation(runtime, image) == "V1" else _v2(runtime, weights)
    return Engine(
        [],
        _merge(variables | own, runtime),
        live="/v1/health/live",
        ready="/v1/health/ready",
        user=1000,
        group=2000,
    )


def _v1(runtime: Runtime, weights: Weights) -> dict[str, str]:
    variables = {"NIM_MODEL_NAME": str(SERVED_MODEL), "NIM_MODEL_PROFILE": "vllm"}
    if weights.rank is not None:
        variables["NIM_MAX_LORA_RANK"] = str(_largest_rank(weights.rank))
    if runtime.max_model_len is not None:
        variables["NIM_MAX_MODEL_LEN"] = str(runtime.max_model_len)
    if runtime.tensor_parallel_size > 1:
        variables["NIM_TENSOR_PARALLEL_SIZE"] = str(runtime.tensor_parallel_size)
    if weights.trust_remote_code:
        variables |= {"NIM_FORCE_TRUST_REMOTE_CODE": "1", "NIM_TRUST_CUSTOM_CODE": "1"}
    return variables


def _v2(runtime: Runtime, weights: Weights) -> dict[str, str]:
    options = [*_engine_options(runtime, weights), *(runtime.args or [])]
    variables = {"NIM_MODEL_PATH": str(SERVED_MODEL)}
    return variables | ({"NIM_PASSTHROUGH_ARGS": shlex.join(options)} if options else {})


def _engine_options(runtime: Runtime, weights: Weights) -> list[str]:
    options = []
    if weights.rank is not None:
        options += ["--enable-lora", "--max-lora-rank", str(_largest_rank(weights.rank))]
    if runtime.max_model_len is not None:
        options += ["--max-model-len", str(runtime.max_model_len)]
    if runtime.tensor_parallel_size > 1:
        options += ["--tensor-parallel-size", str(runtime.tensor_parallel_size)]
    if weights.trust_remote_code:
        options.append("--trust-remote-code")
    return options


def _largest_rank(rank: int) -> int:
    return next((allowed for allowed in _RANKS if allowed >= rank), rank)


def _merge(variables: Mapping[str, str], runtime: Runtime) -> dict[str, str]:
    chosen = {entry.name for entry in runtime.env or []}
    return {name: value for name, value in variables.items() if name not in chosen}
