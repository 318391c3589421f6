"""Starts vLLM on CPU: as the open image does, from arguments, or as NVIDIA's NIM containers do, from NIM_* variables.

It stands in for the containers that production uses, so it is as strict as they are: variables of two generations
together, or one that its generation does not know, end it at once. The engine behind is the real one.
"""

import asyncio
import json
import os
import shlex
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

PORT = "8000"
SERVER = "vllm.entrypoints.openai.api_server"
PATHS = {
    "/v1/health/live": "/health",
    "/v1/health/ready": "/health",
    "/v1/metrics": "/metrics",
    "/v1/version": "/version",
}
"""Where NIM answers, and where vLLM does; a NIM does not know the latter."""
UNKNOWN = "/unknown"
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
HIDDEN = frozenset({*PATHS.values(), LOAD, UNLOAD})

EVERY = frozenset({"NIM_CACHE_PATH", "NIM_HTTP_API_PORT", "NIM_JSONL_LOGGING", "NIM_LOG_LEVEL", "NIM_SERVER_PORT"})
"""What NVIDIA's operator tells every container, of whatever generation."""
SHARED = EVERY | {"NIM_MAX_MODEL_LEN", "NIM_PEFT_REFRESH_INTERVAL", "NIM_PEFT_SOURCE", "NIM_SERVED_MODEL_NAME"}
SMALL = {
    # Many CPUs emulate 16-bit numbers, which takes several times as long.
    "--dtype": "bfloat16" if "avx512_bf16" in Path("/proc/cpuinfo").read_text() else "float32",
    "--max-num-seqs": "16",
    "--enforce-eager": None,
}
"""What keeps the engine small; an argument of the same name replaces it."""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""A small machine without a way out; what is set already stays. The key-value cache is in GiB."""


KNOWN = Path("/opt/engine/known")
"""What the image has found out when it was built, as vLLM keeps it in VLLM_CACHE_ROOT."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The variables that one generation of NIM containers obeys."""

    name: str
    model: str
    own: frozenset[str]
    shared: frozenset[str] = SHARED
    served_name: str = "NIM_SERVED_MODEL_NAME"

    @property
    def known(self) -> frozenset[str]:
        """All the variables that it takes."""
        return self.shared | self.own | {self.model, self.served_name}


OF_1 = frozenset(
    {
        "NIM_CHAT_TEMPLATE",
        "NIM_ENABLE_AUTO_TOOL_CHOICE",
        "NIM_FORCE_TRUST_REMOTE_CODE",
        "NIM_MAX_CPU_LORAS",
        "NIM_MAX_GPU_LORAS",
        "NIM_MAX_LORA_RANK",
        "NIM_MODEL_PROFILE",
        "NIM_TENSOR_PARALLEL_SIZE",
        "NIM_TOOL_CALL_PARSER",
        "NIM_TRUST_CUSTOM_CODE",
    }
)
V1 = Generation("V1", "NIM_MODEL_NAME", OF_1)
FINE_TUNED = Generation(
    "V1 model-specific",
    "NIM_FT_MODEL",
    OF_1
    | {"NIM_CUSTOM_MODEL", "NIM_CUSTOM_MODEL_NAME", "NIM_DISABLE_TRTLLM_PYTORCH_RT", "NIM_USE_TRTLLM_LEGACY_BACKEND"},
)
V2 = Generation("V2", "NIM_MODEL_PATH", frozenset({"NIM_MODEL_PROFILE", "NIM_PASSTHROUGH_ARGS"}))
ENGINE = Generation(
    "Engine",
    "NIM_ENGINE_MODEL_PATH",
    frozenset(),
    EVERY,
    "NIM_ENGINE_MODEL_NAME",
)
GENERATIONS = (V1, FINE_TUNED, V2, ENGINE)


class RefusedError(Exception):
    """The variables contradict one another."""


def find_generation(variables: Mapping[str, str]) -> Generation | None:
    """Returns the generation whose variables these are, or None if there is none of NIM's; refuses a mix."""
    given = {name for name in variables if name.startswith("NIM_")}
    if not given:
        return None
    named = [generation for generation in GENERATIONS if generation.model in given]
    if len(named) != 1:
        names = ", ".join(f"{generation.model} ({generation.name})" for generation in GENERATIONS)
        raise RefusedError(f"exactly one of {names} must be set")
    strange = sorted(given - named[0].known)
    if strange:
        raise RefusedError(f"a {named[0].name} container does not know {', '.join(strange)}")
    return named[0]


def build_arguments(variables: Mapping[str, str], adapters: Sequence[str]) -> list[str]:
    """Returns vLLM's arguments for a container that is driven by NIM's variables.

    `adapters` are the names of the folders in NIM_PEFT_SOURCE.
    """
    generation = find_generation(variables)
    if generation is None:
        return []
    port = variables.get("NIM_SERVER_PORT", PORT)
    arguments = ["--port", port, "--model", variables[generation.model], "--middleware", "entrypoint.NimPaths"]
    options = {
        generation.served_name: "--served-model-name",
        "NIM_CHAT_TEMPLATE": "--chat-template",
        "NIM_MAX_MODEL_LEN": "--max-model-len",
        "NIM_TENSOR_PARALLEL_SIZE": "--tensor-parallel-size",
        "NIM_TOOL_CALL_PARSER": "--tool-call-parser",
    }
    for variable, option in options.items():
        if variable in variables:
            arguments += [option, variables[variable]]
    if generation is V1 and variables.get("NIM_MODEL_PROFILE") != "vllm":
        raise RefusedError("weights of one's own need NIM_MODEL_PROFILE=vllm")
    if variables[generation.model].startswith("s3://"):
        raise RefusedError("this stand-in reads weights from its disk alone")
    if generation is ENGINE and not variables[generation.model].startswith("/model/"):
        raise RefusedError("NIM_ENGINE_MODEL_PATH must be below /model")
    if variables.get("NIM_ENABLE_AUTO_TOOL_CHOICE") == "1":
        arguments.append("--enable-auto-tool-choice")
    trust = {"NIM_FORCE_TRUST_REMOTE_CODE", "NIM_TRUST_CUSTOM_CODE"} & variables.keys()
    if len(trust) == 1:
        raise RefusedError("NIM_FORCE_TRUST_REMOTE_CODE and NIM_TRUST_CUSTOM_CODE go together")
    if trust:
        arguments.append("--trust-remote-code")
    passed = shlex.split(variables.get("NIM_PASSTHROUGH_ARGS", ""))
    return [*arguments, *_take_adapters(variables, generation, adapters, passed), *passed]


def _take_adapters(
    variables: Mapping[str, str], generation: Generation, adapters: Sequence[str], passed: Sequence[str]
) -> list[str]:
    source, interval = variables.get("NIM_PEFT_SOURCE"), variables.get("NIM_PEFT_REFRESH_INTERVAL")
    if interval and not source:
        raise RefusedError("NIM_PEFT_REFRESH_INTERVAL is how often NIM_PEFT_SOURCE is looked into: set both")
    if not source or not (adapters or interval):
        return []
    arguments = []
    if generation in (V1, FINE_TUNED):
        arguments += ["--enable-lora", "--max-lora-rank", variables.get("NIM_MAX_LORA_RANK", "32")]
        for variable, option in {"NIM_MAX_GPU_LORAS": "--max-loras", "NIM_MAX_CPU_LORAS": "--max-cpu-loras"}.items():
            arguments += [option, variables[variable]] if variable in variables else []
    elif "--enable-lora" not in passed:
        raise RefusedError("NIM_PEFT_SOURCE needs --enable-lora among NIM_PASSTHROUGH_ARGS")
    if adapters:
        arguments += ["--lora-modules", *(f"{name}={source}/{name}" for name in sorted(adapters))]
    return arguments


def make_small(arguments: Sequence[str]) -> list[str]:
    """Adds what keeps the engine small, where the arguments do not say otherwise."""
    given = {argument.partition("=")[0] for argument in arguments}
    added = [word for option, value in SMALL.items() if option not in given for word in (option, value)]
    return [*arguments, *(word for word in added if word is not None)]


def find_adapters(source: Path) -> set[str]:
    """Returns the names of the adapters that lie in a folder."""
    return {path.parent.name for path in source.glob("*/adapter_config.json")}


@dataclass(slots=True)
class Watcher:
    """Keeps the engine's adapters as a folder has them: like a NIM, it goes by their names.

    It asks the engine behind `app` by vLLM's own calls, which a NIM does not show to others.
    """

    app: App
    source: Path
    seconds: float
    known: set[str]
    context: Scope = field(default_factory=dict)
    """What the web framework puts into every request."""

    async def run(self) -> None:
        """Looks again and again."""
        while True:
            await asyncio.sleep(self.seconds)
            await self.look()

    async def look(self) -> None:
        """Unloads what is gone and loads what is new."""
        found = await asyncio.to_thread(find_adapters, self.source)
        for name in sorted(self.known - found):
            await self._call(UNLOAD, {"lora_name": name})
            self.known.discard(name)
        for name in sorted(found - self.known):
            # What cannot be loaded is tried again at the next look.
            if await self._call(LOAD, {"lora_name": name, "lora_path": str(self.source / name)}):
                self.known.add(name)

    async def _call(self, path: str, body: dict[str, str]) -> bool:
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

        async def send(message: Any) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": headers}
        defaults = {"http_version": "1.1", "scheme": "http", "root_path": "", "query_string": b"", "client": None}
        await self.app({**defaults, "server": None, **self.context, **scope}, receive, send)
        return statuses == [200]


def build_watcher(app: App, variables: Mapping[str, str]) -> Watcher | None:
    """Returns what looks for adapters; None if nobody is to."""
    interval, source = variables.get("NIM_PEFT_REFRESH_INTERVAL"), Path(variables.get("NIM_PEFT_SOURCE", ""))
    return Watcher(app, source, float(interval), set(_read_modules(sys.argv))) if interval else None


def _read_modules(arguments: Iterable[str]) -> list[str]:
    """Returns the names of the adapters that the engine was started with."""
    found = [argument.partition("=") for argument in arguments]
    source = os.environ.get("NIM_PEFT_SOURCE", "")
    return [name for name, equals, path in found if equals and path == f"{source}/{name}"]


class NimPaths:
    """Middleware that answers where NIM does, so that its probes and its monitoring find what they look for."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.watcher = build_watcher(app, os.environ)
        self._task: asyncio.Task[None] | None = None

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Passes a request on under the path that vLLM knows."""
        if scope["type"] == "http":
            path = scope["path"]
            scope["path"] = PATHS.get(path, UNKNOWN if path in HIDDEN else path)
        elif scope["type"] == "lifespan" and self.watcher is not None and self._task is None:
            self.watcher.context = {name: scope[name] for name in ("app", "state") if name in scope}
            self._task = asyncio.create_task(self.watcher.run())
        await self.app(scope, receive, send)


def main() -> None:
    """Becomes the server."""
    source = Path(os.environ.get("NIM_PEFT_SOURCE", "/nonexistent"))
    try:
        arguments = make_small([*build_arguments(os.environ, sorted(find_adapters(source))), *sys.argv[1:]])
    except RefusedError as error:
        sys.exit(f"engine: {error}")
    environment = {**ENVIRONMENT, **os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    environment.setdefault("OMP_NUM_THREADS", str(min(4, len(os.sched_getaffinity(0)))))
    if "NIM_PEFT_REFRESH_INTERVAL" in os.environ:
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if "VLLM_CACHE_ROOT" in environment and KNOWN.exists():
        shutil.copytree(KNOWN, environment["VLLM_CACHE_ROOT"], dirs_exist_ok=True)
    os.execve(sys.executable, [sys.executable, "-m", SERVER, *arguments], environment)


if __name__ == "__main__":
    main()
