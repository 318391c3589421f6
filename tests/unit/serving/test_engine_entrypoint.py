"""The test engine takes NIM's variables as the real containers do, and refuses what they refuse."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.engine import entrypoint

V1 = {"NIM_MODEL_NAME": "/m", "NIM_MODEL_PROFILE": "vllm"}
FT = {"NIM_FT_MODEL": "/m"}
V2 = {"NIM_MODEL_PATH": "/m"}
LOOKS = {"NIM_PEFT_SOURCE": "/p", "NIM_PEFT_REFRESH_INTERVAL": "5"}
NATIVE = {"NIM_ENGINE_MODEL_PATH": "/model/m", "NIM_ENGINE_MODEL_NAME": "a"}
OPERATOR = {
    "NIM_CACHE_PATH": "/model-store",
    "NIM_HTTP_API_PORT": "8000",
    "NIM_JSONL_LOGGING": "1",
    "NIM_LOG_LEVEL": "INFO",
    "NIM_SERVER_PORT": "8000",
}
START = "--port 8000 --model /m --middleware entrypoint.NimPaths"


@pytest.mark.parametrize(
    ("variables", "adapters", "arguments"),
    [
        pytest.param({"HOME": "/tmp"}, [], "", id="none of NIM's: vLLM's own arguments alone"),
        pytest.param(V1, [], START, id="V1"),
        pytest.param(FT, [], START, id="V1, made for one model"),
        pytest.param(V2, [], START, id="V2"),
        pytest.param(
            {**V2, **OPERATOR, "NIM_SERVER_PORT": "9000"},
            [],
            "--port 9000 --model /m --middleware entrypoint.NimPaths",
            id="V2, what NVIDIA's operator adds",
        ),
        pytest.param(
            NATIVE | OPERATOR,
            [],
            "--port 8000 --model /model/m --middleware entrypoint.NimPaths --served-model-name a",
            id="native",
        ),
        pytest.param(
            {**V1, "NIM_TOOL_CALL_PARSER": "hermes", "NIM_ENABLE_AUTO_TOOL_CHOICE": "1", "NIM_CHAT_TEMPLATE": "/t"},
            [],
            f"{START} --chat-template /t --tool-call-parser hermes --enable-auto-tool-choice",
            id="V1, tool calls and a template",
        ),
        pytest.param(
            {**V1, "NIM_SERVED_MODEL_NAME": "a", "NIM_MAX_MODEL_LEN": "64", "NIM_TENSOR_PARALLEL_SIZE": "2"},
            [],
            f"{START} --served-model-name a --max-model-len 64 --tensor-parallel-size 2",
            id="V1, name, length and GPUs",
        ),
        pytest.param(
            {**V1, "NIM_PEFT_SOURCE": "/p", "NIM_MAX_LORA_RANK": "16"},
            ["b", "a"],
            f"{START} --enable-lora --max-lora-rank 16 --lora-modules a=/p/a b=/p/b",
            id="V1, a folder an adapter",
        ),
        pytest.param({**V1, "NIM_PEFT_SOURCE": "/p"}, [], START, id="V1, no adapter there"),
        pytest.param(
            {**V1, **LOOKS, "NIM_MAX_LORA_RANK": "8", "NIM_MAX_GPU_LORAS": "2", "NIM_MAX_CPU_LORAS": "4"},
            [],
            f"{START} --enable-lora --max-lora-rank 8 --max-loras 2 --max-cpu-loras 4",
            id="V1, room for adapters that come later",
        ),
        pytest.param(
            {**V2, **LOOKS, "NIM_PASSTHROUGH_ARGS": "--enable-lora --max-loras 2"},
            ["a"],
            f"{START} --lora-modules a=/p/a --enable-lora --max-loras 2",
            id="V2, one adapter at once and room for others",
        ),
        pytest.param(
            {**V1, "NIM_FORCE_TRUST_REMOTE_CODE": "1", "NIM_TRUST_CUSTOM_CODE": "1"},
            [],
            f"{START} --trust-remote-code",
            id="V1, the model's own code",
        ),
        pytest.param(
            {**V2, "NIM_PEFT_SOURCE": "/p", "NIM_PASSTHROUGH_ARGS": "--enable-lora --max-lora-rank 8 --x 'a b'"},
            ["a"],
            f"{START} --lora-modules a=/p/a --enable-lora --max-lora-rank 8 --x 'a b'",
            id="V2, the engine's arguments pass through",
        ),
    ],
)
def test_variables_become_arguments(variables: dict[str, str], adapters: list[str], arguments: str) -> None:
    assert shlex.join(entrypoint.build_arguments(variables, adapters)) == arguments


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        pytest.param({**V1, **V2}, "exactly one of", id="both generations"),
        pytest.param({"NIM_SERVED_MODEL_NAME": "a"}, "exactly one of", id="neither generation"),
        pytest.param({**V1, "NIM_PASSTHROUGH_ARGS": ""}, "V1 container does not know NIM_PASSTHROUGH_ARGS", id="V1"),
        pytest.param({**V2, "NIM_MAX_LORA_RANK": "8"}, "V2 container does not know NIM_MAX_LORA_RANK", id="V2"),
        pytest.param({**V1, **FT}, "exactly one of", id="two kinds of image"),
        pytest.param({**NATIVE, "NIM_SERVED_MODEL_NAME": "a"}, "does not know NIM_SERVED_MODEL_NAME", id="native"),
        pytest.param({"NIM_ENGINE_MODEL_PATH": "/m"}, "must be below /model", id="native, a model elsewhere"),
        pytest.param({"NIM_MODEL_NAME": "/m"}, "NIM_MODEL_PROFILE=vllm", id="V1 without a profile"),
        pytest.param({**V1, "NIM_TRUST_CUSTOM_CODE": "1"}, "go together", id="half the consent"),
        pytest.param({**V1, "NIM_PEFT_REFRESH_INTERVAL": "5"}, "set both", id="looks into nothing"),
        pytest.param({**V2, **LOOKS}, "needs --enable-lora", id="V2 that was not told to take adapters"),
        pytest.param({**V2, **LOOKS, "NIM_MAX_GPU_LORAS": "2"}, "V2 container does not know", id="V2, limits of V1"),
    ],
)
def test_a_mixed_set_is_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(entrypoint.RefusedError, match=message):
        entrypoint.build_arguments(variables, [])


def test_the_engine_stays_small_unless_told_otherwise() -> None:
    assert entrypoint.make_small(["--model", "/m", "--dtype=float32"]) == (
        ["--model", "/m", "--dtype=float32", "--max-num-seqs", "16", "--enforce-eager"]
    )


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("/v1/health/live", "/health"),
        ("/v1/health/ready", "/health"),
        ("/v1/metrics", "/metrics"),
        ("/v1/models", "/v1/models"),
        ("/health", "/unknown"),
        ("/v1/load_lora_adapter", "/unknown"),
    ],
)
async def test_nim_paths_are_answered(asked: str, answered: str) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])

    async def nothing(*_: Any) -> None: ...

    await entrypoint.NimPaths(app)({"type": "http", "path": asked}, nothing, nothing)
    assert seen == [answered]


async def test_a_folder_that_is_looked_into_again_and_again_says_which_adapters_there_are(tmp_path: Path) -> None:
    calls: list[tuple[str, str]] = []
    refused = {"broken"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["app"] == "the framework's"
        name = json.loads((await receive())["body"])["lora_name"]
        calls.append((scope["path"].removeprefix("/v1/"), name))
        await send({"type": "http.response.start", "status": 400 if name in refused else 200})

    watcher = entrypoint.Watcher(app, tmp_path, 5, {"first"}, {"app": "the framework's"})
    for name in ("first", "second", "broken"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").touch()
    (tmp_path / "half").mkdir()
    await watcher.look()
    assert calls == [("load_lora_adapter", "broken"), ("load_lora_adapter", "second")]
    (tmp_path / "first" / "adapter_config.json").unlink()
    calls.clear()
    refused.clear()
    await watcher.look()
    assert calls == [("unload_lora_adapter", "first"), ("load_lora_adapter", "broken")]
    assert watcher.known == {"second", "broken"}
