"""What the server is told, in full, for each runtime and generation."""

import shlex

import pytest

from customizer_operator.api.model_runtime import EnvVar, Runtime
from customizer_operator.objects.serving_engine import Weights, build_engine, find_generation
from tests.unit.serving.engine import entrypoint

MODEL = Weights("tickets")
ADAPTER = Weights("tickets", base_name="tickets-base", rank=12)
CACHES = {
    "HF_HOME": "/cache/huggingface",
    "HF_HUB_OFFLINE": "1",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "USER": "server",
    "VLLM_CACHE_ROOT": "/cache/vllm",
}
NIM = CACHES | {"NIM_CACHE_PATH": "/cache/nim"}
PEFT = {"NIM_PEFT_SOURCE": "/model-store/adapters", "NIM_SERVED_MODEL_NAME": "tickets-base"}
V1 = {"NIM_MODEL_NAME": "/model-store/model", "NIM_MODEL_PROFILE": "vllm"}
V2 = {"NIM_MODEL_PATH": "/model-store/model"}
FT = {
    "NIM_FT_MODEL": "/model-store/model",
    "NIM_CUSTOM_MODEL": "/model-store/model",
    "NIM_CUSTOM_MODEL_NAME": "tickets",
    "NIM_SERVED_MODEL_NAME": "tickets",
}
NATIVE = {"NIM_ENGINE_MODEL_PATH": "/model/model", "NIM_ENGINE_MODEL_NAME": "tickets"}
TOOLS = {"toolCallParser": "hermes", "chatTemplate": "{{ messages }}"}
TOOL_ARGUMENTS = (
    "--enable-auto-tool-choice --tool-call-parser hermes --chat-template /etc/customizer-template/chat_template.jinja"
)


@pytest.mark.parametrize(
    ("image", "generation", "expected"),
    [
        ("nvcr.io/nim/nvidia/llm-nim:1.15.5", "Auto", "V1"),
        ("nvcr.io/nim/nvidia/llm-nim", "Auto", "V1"),
        ("nvcr.io/nim/nvidia/model-free-nim:2.0.6", "Auto", "V2"),
        ("nvcr.io/nim/nvidia/vllm-model-free-nim:2.1.1", "Auto", "V2"),
        ("mirror.example:5000/nim/model-free-nim", "Auto", "V2"),
        ("mirror.example:5000/nim/renamed:2.0.1", "Auto", "V2"),
        ("mirror.example:5000/nim/renamed:1.12", "Auto", "V1"),
        ("mirror.example:5000/nim/renamed@sha256:2222", "Auto", "V1"),
        ("localhost/engine:2a5b", "Auto", "V1"),
        ("nvcr.io/nim/nvidia/llm-nim:1.15.5", "V2", "V2"),
        ("nvcr.io/nim/nvidia/model-free-nim:2.0.6", "V1", "V1"),
    ],
)
def test_the_generation_is_as_asked_for_or_told_by_the_image(image: str, generation: str, expected: str) -> None:
    runtime = Runtime.model_validate({"type": "MultiLLM", "generation": generation})
    assert find_generation(runtime, image) == expected


@pytest.mark.parametrize(
    ("runtime", "weights", "arguments"),
    [
        pytest.param({}, MODEL, "--served-model-name tickets", id="a full model"),
        pytest.param(
            {},
            ADAPTER,
            "--served-model-name tickets-base --lora-modules tickets=/model-store/adapters/tickets "
            "--enable-lora --max-lora-rank 16",
            id="an adapter beside its base, its rank rounded up to one that vLLM takes",
        ),
        pytest.param(
            {"maxModelLen": 512, "tensorParallelSize": 2, "args": ["--enforce-eager", "--max-model-len=256"]},
            Weights("tickets", trust_remote_code=True),
            "--served-model-name tickets --max-model-len 512 --tensor-parallel-size 2 --trust-remote-code "
            "--enforce-eager --max-model-len=256",
            id="the user's arguments last, so that they win",
        ),
        pytest.param(
            {"quantization": "fp8", **TOOLS},
            MODEL,
            f"--served-model-name tickets --quantization fp8 {TOOL_ARGUMENTS}",
            id="quantization, tool calls and a template",
        ),
    ],
)
def test_vllm_is_told_by_arguments(runtime: dict[str, object], weights: Weights, arguments: str) -> None:
    engine = build_engine(Runtime.model_validate({"type": "VLLM", **runtime}), "vllm/vllm-openai:v0.32.0", weights)
    assert shlex.join(engine.arguments) == f"--model /model-store/model --port 8000 {arguments}"
    assert engine.variables == CACHES | {"VLLM_NO_USAGE_STATS": "1"}
    assert (engine.live, engine.ready) == ("/health", "/health")


@pytest.mark.parametrize(
    ("generation", "runtime", "weights", "variables"),
    [
        pytest.param("V1", {}, MODEL, V1 | {"NIM_SERVED_MODEL_NAME": "tickets"}, id="V1, a full model"),
        pytest.param("V2", {}, MODEL, V2 | {"NIM_SERVED_MODEL_NAME": "tickets"}, id="V2, a full model"),
        pytest.param("V1", {}, ADAPTER, V1 | PEFT | {"NIM_MAX_LORA_RANK": "16"}, id="V1, an adapter"),
        pytest.param(
            "V2",
            {},
            ADAPTER,
            V2 | PEFT | {"NIM_PASSTHROUGH_ARGS": "--enable-lora --max-lora-rank 16"},
            id="V2, an adapter",
        ),
        pytest.param(
            "V1",
            {"maxModelLen": 512, "tensorParallelSize": 2},
            Weights("tickets", trust_remote_code=True),
            V1
            | {
                "NIM_SERVED_MODEL_NAME": "tickets",
                "NIM_MAX_MODEL_LEN": "512",
                "NIM_TENSOR_PARALLEL_SIZE": "2",
                "NIM_FORCE_TRUST_REMOTE_CODE": "1",
                "NIM_TRUST_CUSTOM_CODE": "1",
            },
            id="V1, every setting",
        ),
        pytest.param(
            "V2",
            {"maxModelLen": 512, "tensorParallelSize": 2, "args": ["--chat-template", "a b"]},
            Weights("tickets", trust_remote_code=True),
            V2
            | {
                "NIM_SERVED_MODEL_NAME": "tickets",
                "NIM_PASSTHROUGH_ARGS": "--max-model-len 512 --tensor-parallel-size 2 --trust-remote-code "
                "--chat-template 'a b'",
            },
            id="V2, every setting and the user's arguments, quoted",
        ),
        pytest.param(
            "V1",
            {"profile": "sglang", **TOOLS},
            MODEL,
            V1
            | {
                "NIM_SERVED_MODEL_NAME": "tickets",
                "NIM_MODEL_PROFILE": "sglang",
                "NIM_ENABLE_AUTO_TOOL_CHOICE": "1",
                "NIM_TOOL_CALL_PARSER": "hermes",
                "NIM_CHAT_TEMPLATE": "/etc/customizer-template/chat_template.jinja",
            },
            id="V1, another profile, tool calls and a template",
        ),
        pytest.param(
            "V2",
            {"profile": "vllm-bf16-tp1-pp1", "quantization": "fp8", **TOOLS},
            MODEL,
            V2
            | {
                "NIM_SERVED_MODEL_NAME": "tickets",
                "NIM_MODEL_PROFILE": "vllm-bf16-tp1-pp1",
                "NIM_PASSTHROUGH_ARGS": f"--quantization fp8 {TOOL_ARGUMENTS}",
            },
            id="V2, profile, quantization, tool calls and a template",
        ),
        pytest.param("Engine", {}, MODEL, NATIVE, id="Engine, a full model"),
        pytest.param("V1", {"type": "ModelSpecificNIM"}, MODEL, FT, id="V1 made for one model, full weights"),
        pytest.param(
            "V1",
            {"type": "ModelSpecificNIM", "profile": "tensorrt_llm-h100-fp8-tp1"},
            MODEL,
            FT
            | {
                "NIM_MODEL_PROFILE": "tensorrt_llm-h100-fp8-tp1",
                "NIM_USE_TRTLLM_LEGACY_BACKEND": "1",
                "NIM_DISABLE_TRTLLM_PYTORCH_RT": "1",
            },
            id="V1 made for one model, full weights on TensorRT-LLM",
        ),
        pytest.param(
            "V1",
            {"type": "ModelSpecificNIM", "profile": "ab4c0f"},
            MODEL,
            FT | {"NIM_MODEL_PROFILE": "ab4c0f"},
            id="V1 made for one model, a profile whose id does not tell its engine",
        ),
        pytest.param(
            "V1",
            {"type": "ModelSpecificNIM"},
            Weights("tickets", base_name="tickets-base", rank=12, base_in_image=True),
            PEFT | {"NIM_MAX_LORA_RANK": "16"},
            id="V1 made for one model, an adapter of it",
        ),
        pytest.param(
            "V2",
            {"type": "ModelSpecificNIM"},
            ADAPTER,
            V2 | PEFT | {"NIM_PASSTHROUGH_ARGS": "--enable-lora --max-lora-rank 16"},
            id="V2 made for one model, an adapter",
        ),
        pytest.param(
            "V2",
            {"type": "ModelSpecificNIM"},
            MODEL,
            V2 | {"NIM_SERVED_MODEL_NAME": "tickets"},
            id="V2 made for one model, full weights",
        ),
        pytest.param("Engine", {"type": "ModelSpecificNIM"}, MODEL, NATIVE, id="Engine made for one model"),
    ],
)
def test_nim_is_told_by_the_variables_of_one_generation(
    generation: str, runtime: dict[str, object], weights: Weights, variables: dict[str, str]
) -> None:
    spec = Runtime.model_validate({"type": "MultiLLM", "generation": generation, "image": "nim", **runtime})
    engine = build_engine(spec, "nim", weights)
    assert engine.variables == NIM | variables
    assert engine.arguments == []
    assert (engine.live, engine.ready) == ("/v1/health/live", "/v1/health/ready")
    if not weights.base_in_image:
        told = entrypoint.find_generation(engine.variables)
        assert told is not None
        assert told.name == ("V1 model-specific" if "NIM_FT_MODEL" in variables else generation)


def test_a_variable_of_the_user_is_left_to_the_user() -> None:
    runtime = Runtime(type="VLLM", env=[EnvVar(name="VLLM_CACHE_ROOT", value="/elsewhere")])
    assert "VLLM_CACHE_ROOT" not in build_engine(runtime, "vllm", MODEL).variables
