"""What a model's configuration says, and its tokenizer."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.model_config import find_text_config, parse_dtype, parse_shape
from customizer_contract.shape import Dtype, ModelShape
from customizer_trainer.datasets.formats import Format
from customizer_trainer.datasets.tokenizing import Tokenizer
from customizer_trainer.storage.model_files import find_index, select_weights
from customizer_trainer.storage.tensor_files import read_header

_CONV1D = frozenset({"gpt2", "openai-gpt", "gpt_bigcode", "imagegpt", "clvp"})
"""Architectures whose layers are no linear layers, so that LoRA finds nothing to adapt."""
_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float32"}
_SCALED_LENGTHS = frozenset({"default", "llama3", "longrope"})


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is used of a `config.json`."""

    architecture: str
    model_type: str
    context_length: int | None
    dtype: Dtype | None
    """As the configuration says; None when it does not."""
    shape: ModelShape | None = None
    """None where the configuration uses other words than most."""
    sliding_window: int | None = None
    """Tokens that a token sees before it in some layers; None: all."""
    brings_code: bool = False
    """Whether Python files of its own come with the model."""
    trained_length: int | None = None
    """Tokens that the model was made for, before any scaling of its positions."""
    quantized: bool = False
    """Whether its weights are stored in fewer bits than they mean."""


def read_config(folder: Path) -> ModelConfig:
    """Reads `config.json`. Raises ModelInvalid when it names no architecture that generates text."""
    return parse_config(read_document(folder))


def read_document(folder: Path) -> dict[str, Any]:
    """Reads `config.json` as it is. Raises ModelInvalid when it is no JSON object."""
    try:
        document = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise _invalid(f"config.json cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise _invalid("config.json is not a JSON object.")
    return document


def parse_config(document: dict[str, Any]) -> ModelConfig:
    """Picks from a `config.json` what is used of it; a text model inside a larger one counts with its own limits."""
    architectures = document.get("architectures") or []
    model_type = document.get("model_type")
    if not architectures or not isinstance(model_type, str):
        raise _invalid("config.json names no architecture (fields architectures and model_type).")
    architecture = str(architectures[0])
    if not architecture.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")):
        raise _invalid(f"{architecture} does not generate text; a causal language model is needed.")
    text = find_text_config(document)
    return ModelConfig(
        architecture=architecture,
        model_type=model_type,
        context_length=find_context_length(text),
        dtype=parse_dtype(document),
        shape=parse_shape(text),
        sliding_window=_find_window(text),
        trained_length=_find_trained_length(text),
        brings_code="auto_map" in document,
        quantized="quantization_config" in document or "quantization_config" in text,
    )


def find_context_length(text: dict[str, Any]) -> int | None:
    """Returns the tokens that the model can take; scaled positions (RoPE) reach further than the trained ones."""
    length = _find_trained_length(text)
    if length is None:
        return None
    scaling = _find_scaling(text)
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    factor, trained = scaling.get("factor"), scaling.get("original_max_position_embeddings")
    # Of these the configuration says the scaled length already.
    if kind in _SCALED_LENGTHS or not isinstance(factor, (int, float)):
        return length
    return max(length, int(factor * (trained if isinstance(trained, int) else length)))


def _find_trained_length(text: dict[str, Any]) -> int | None:
    length = text.get("max_position_embeddings")
    return length if isinstance(length, int) else None


def _find_window(text: dict[str, Any]) -> int | None:
    window = text.get("sliding_window")
    return window if isinstance(window, int) and text.get("use_sliding_window", True) else None


def _find_scaling(text: dict[str, Any]) -> dict[str, Any]:
    """Returns how positions are scaled: `rope_scaling`, or `rope_parameters`, which may name layers by their kind."""
    scaling = text.get("rope_parameters") or text.get("rope_scaling") or {}
    if not isinstance(scaling, dict):
        return {}
    full = scaling.get("full_attention")
    return full if isinstance(full, dict) else scaling


def check_lora(config: ModelConfig) -> None:
    """Raises ModelInvalid for a model that LoRA cannot adapt."""
    if config.model_type in _CONV1D:
        raise _invalid(f"{config.architecture} has no linear layers that LoRA could adapt; train all_weights.")


def checkpoint_dtype(folder: Path) -> str:
    """Returns the data type of the weights: as the configuration says, else that of the first tensor, else float32."""
    dtype = read_config(folder).dtype
    if dtype is not None:
        return dtype
    weights = select_weights(path.name for path in folder.iterdir())
    for name in weights:
        if name.endswith(".safetensors"):
            first = next(iter(read_header(folder / name).values()), None)
            return _DTYPES.get(first.dtype if first else "", "float32")
    return "float32"


def read_tensor_files(folder: Path, files: Collection[str]) -> dict[str, str]:
    """Returns for each tensor the file that holds it, as the model's index says; nothing where one file holds all.

    `files` are those of the whole model, of which the folder may lack the weights. Raises ModelInvalid when some that
    the index names are not among them.
    """
    name = find_index(files)
    if name is None:
        return {}
    try:
        found = json.loads((folder / name).read_text())["weight_map"]
        tensors = {str(tensor): str(file) for tensor, file in found.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise CustomizerError(Reason.MODEL_INVALID, f"{name} cannot be read: {error}.", file=name) from error
    named = set(tensors.values())
    if missing := sorted(named.difference(files)):
        raise CustomizerError(
            Reason.MODEL_INVALID,
            f"Of {len(named)} files of weights that {name} names, {len(missing)} are not there: {missing[0]} first.",
            file=missing[0],
        )
    return tensors


def check_weight_files(folder: Path) -> None:
    """Raises ModelInvalid for a file of weights that was cut off, as an upload that broke off leaves it.

    Libraries say this in many words, or crash. Of each file that is here only the header is read.
    """
    for name in select_weights(path.name for path in folder.iterdir()):
        if not name.endswith(".safetensors"):
            continue
        try:
            expected = max((tensor.end for tensor in read_header(folder / name).values()), default=0)
        except ValueError as error:
            raise CustomizerError(Reason.MODEL_INVALID, f"{name} holds no weights: {error}.", file=name) from error
        if (size := (folder / name).stat().st_size) < expected:
            message = f"{name} was cut off: it has {size} bytes, and should have {expected}. Upload it again."
            raise CustomizerError(Reason.MODEL_INVALID, message, file=name)


def is_known_to_transformers(architecture: str) -> bool:
    """Tells whether transformers has a class of this name that generates text."""
    # Takes seconds to import. The tables hold names alone, so that they need no torch.
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    tables = (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    return any(
        architecture == names if isinstance(names, str) else architecture in names
        for table in tables
        for names in table.values()
    )


def load_tokenizer(folder: Path, *, trust_remote_code: bool, format_: Format) -> Tokenizer:
    """Loads the tokenizer from local files and checks that it suits the format of the data.

    Raises TokenizerInvalid, or ChatTemplateMissing.
    """
    # Takes seconds to import, which no test of the facts above should wait for.
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise _bad_tokenizer(f"The tokenizer cannot be loaded: {error}.") from error
    if tokenizer.eos_token_id is None:
        raise _bad_tokenizer("The tokenizer names no end-of-sequence token, so answers would never end.")
    if format_ == "chat":
        if not tokenizer.chat_template:
            raise CustomizerError(
                Reason.CHAT_TEMPLATE_MISSING, "The data are chat messages, but the tokenizer has no chat template."
            )
        if not tokenizer.is_fast:
            raise _bad_tokenizer(
                "The tokenizer has no tokenizer.json, without which an assistant's words cannot be located."
            )
    return cast(Tokenizer, tokenizer)


def count_tokens(tokenizer: Tokenizer) -> int:
    """Counts the tokens that text may become; those added beside them are only for marks that text may not hold."""
    return int(cast(Any, tokenizer).vocab_size)


def _bad_tokenizer(message: str) -> CustomizerError:
    return CustomizerError(Reason.TOKENIZER_INVALID, message)


def _invalid(message: str) -> CustomizerError:
    return CustomizerError(Reason.MODEL_INVALID, message)
