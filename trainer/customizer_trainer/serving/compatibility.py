"""Whether an adapter fits the model and the server that it is for: told by its manifest and its files' headers."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, StrictInt, ValidationError

from customizer_contract.artifact import Manifest
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.serving import LoraServer
from customizer_trainer.storage.model_files import select_weights
from customizer_trainer.storage.tensor_files import read_header

Shapes = Mapping[str, tuple[int, ...]]

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


def check_manifest(manifest: Manifest, lora: LoraServer) -> None:
    """Raises AdapterIncompatible if what the manifest says rules the adapter out."""
    adapter = manifest.adapter
    if manifest.type != "adapter" or adapter is None:
        raise _refuse(f"{manifest.name} is a full model, not an adapter: serve it by a deployment of its own.")
    if adapter.rank > lora.max_rank:
        raise _refuse_rank(adapter.rank, lora.max_rank)
    if lora.target_modules is not None:
        strange = sorted(set(adapter.target_modules) - set(lora.target_modules))
        if strange:
            raise _refuse(f"It adapts {', '.join(strange)}; the server adapts only {', '.join(lora.target_modules)}.")


def check_settings(folder: Path) -> None:
    """Raises AdapterIncompatible if the adapter holds more than the matrices that servers load."""
    config = _read_json(folder / _CONFIG)
    for setting, what in {"use_dora": "DoRA", "modules_to_save": "whole layers (modules_to_save)"}.items():
        if config.get(setting):
            raise _refuse(f"It holds {what}, which servers do not load: train it without.")
    if config.get("bias", "none") != "none":
        raise _refuse("It holds biases, which servers do not load: train it with bias none.")


def check_layers(folder: Path, model: Path, lora: LoraServer) -> None:
    """Raises AdapterIncompatible unless every tensor of the adapter belongs to a layer of the model, and fits it."""
    weights = select_weights(path.name for path in model.iterdir())
    if not weights:
        raise CustomizerError(Reason.MODEL_INVALID, f"{model}: the served model has no weights there.")
    # Neither pickles nor quantized weights tell the shapes of the layers.
    if weights[0].endswith(".safetensors") and "quantization_config" not in _read_json(model / "config.json"):
        paths = [model / name for name in weights if name.endswith(".safetensors")]
        check_shapes(read_shapes([folder / _WEIGHTS]), read_shapes(paths), lora.max_rank)
    check_vocabulary(folder, model)


def check_shapes(adapter: Shapes, model: Shapes, max_rank: int) -> None:
    """Raises AdapterIncompatible unless each matrix has a layer of the model that it fits."""
    layers: dict[str, set[tuple[int, ...]]] = {}
    for name, shape in model.items():
        layers.setdefault(_tail(name), set()).add(shape)
    for name, shape in sorted(adapter.items()):
        layer, is_down = _find_layer(name)
        weights = layers.get(_tail(f"{layer}.weight"))
        if not weights or len(shape) != 2:
            raise _refuse(f"It adapts {layer}, which is no linear layer of the served model.")
        rank, width = shape if is_down else (shape[1], shape[0])
        # Experts that are fused into one tensor do not show the width of each.
        expected = {weight[1] if is_down else weight[0] for weight in weights if len(weight) == 2}
        if expected and width not in expected:
            raise _refuse(f"Its matrix for {layer} is {width} wide, and the layer of the served model {max(expected)}.")
        if rank > max_rank:
            raise _refuse_rank(rank, max_rank)
    if not adapter:
        raise _refuse("It holds no matrices.")


def check_vocabulary(folder: Path, model: Path) -> None:
    """Raises AdapterIncompatible if the adapter comes with a tokenizer that has tokens beyond the model's."""
    size = _read_json(model / "config.json").get("vocab_size")
    path = folder / "tokenizer.json"
    if not isinstance(size, int) or not path.is_file():
        return
    tokenizer = _read_tokenizer(path)
    vocabulary = tokenizer.model.vocab if tokenizer.model else None
    numbers = [*vocabulary.values()] if isinstance(vocabulary, dict) else [len(vocabulary or ()) - 1]
    numbers += [token.id for token in tokenizer.added_tokens or ()]
    largest = max(numbers, default=-1)
    if largest >= size:
        raise _refuse(f"Its tokenizer has token {largest}; the served model ends at {size - 1}.")


def read_shapes(paths: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Reads the shapes of all tensors from the headers of safetensors files."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        try:
            shapes |= {name: tensor.shape for name, tensor in read_header(path).items()}
        except (OSError, ValueError) as error:
            raise _refuse(f"{path.name} is not a safetensors file: {error}.") from error
    return shapes


def _find_layer(name: str) -> tuple[str, bool]:
    for ending, is_down in ((_DOWN, True), (_UP, False)):
        if name.endswith(ending):
            return name.removeprefix(_PREFIX).removesuffix(ending), is_down
    raise _refuse(f"It holds {name}, which is no matrix of a LoRA adapter.")


def _tail(name: str) -> str:
    """Returns a tensor's name from its layer's number on: models stand in others under longer names."""
    _, found, tail = name.partition("layers.")
    return tail if found else name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _refuse(f"{path.name} cannot be read: {error}.") from error
    if not isinstance(found, dict):
        raise _refuse(f"{path.name} is not a JSON object.")
    return found


class _Vocabulary(BaseModel):
    vocab: dict[str, StrictInt] | list[object] | None = None
    """The numbers of the tokens, or one entry for each of them."""


class _AddedToken(BaseModel):
    id: StrictInt


class _Tokenizer(BaseModel):
    """What is read of a tokenizer.json."""

    model: _Vocabulary | None = None
    added_tokens: list[_AddedToken] | None = None


def _read_tokenizer(path: Path) -> _Tokenizer:
    try:
        return _Tokenizer.model_validate_json(path.read_bytes())
    except OSError as error:
        raise _refuse(f"{path.name} cannot be read: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _refuse(f"{path.name} is malformed: {place}: {first['msg']}.") from error


def _refuse_rank(rank: int, largest: int) -> CustomizerError:
    return _refuse(f"Its rank is {rank}, and the server takes at most {largest} (runtime.lora.maxRank).")


def _refuse(message: str) -> CustomizerError:
    return CustomizerError(Reason.ADAPTER_INCOMPATIBLE, message)
