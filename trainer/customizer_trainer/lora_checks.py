"""Whether the model has the layers that an adapter is asked for, told by its configuration and its index. Pure."""

from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from operator import eq

from customizer_contract import automodel, unsloth
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_trainer.model import ModelConfig

_FUSED = {"q_proj": "qkv_proj", "gate_proj": "gate_up_proj"}
"""Layers that some models store apart, and some classes of the backends compute as one."""
_NO_LINEAR = ("norm", "embed", "ln_", "wte", "wpe", "rotary", "lm_head")
"""Parts of the names of what has weights, and is no linear layer of a block."""
_SHOWN = 8


def check_lora_layers(job: Job, config: ModelConfig, tensors: Collection[str]) -> None:
    """Raises LoraUnfit when the adapter would find nothing to adapt, or names layers beyond the last one.

    `tensors` are the names of the model's weights, empty where its index does not tell them. Those of experts are
    not judged: classes of models put them together in ways of their own.
    """
    if not job.outline.adapts:
        return
    # Quantized weights have names of their own within a layer.
    modules = sorted({tensor.rpartition(".")[0] for tensor in tensors})
    is_told = bool(modules) and config.shape is not None and not config.shape.experts
    if job.unsloth is not None:
        lora = job.unsloth.training.lora or unsloth.Lora()
        _check_numbers(lora, config)
        if is_told:
            _check_targets(lora.target_modules, modules, "unsloth", eq)
    if job.automodel is not None and is_told:
        asked = job.automodel.training.lora or automodel.Lora()
        if asked.exclude_modules:
            _check_excluded(asked.exclude_modules, modules)
        else:
            _check_targets(asked.target_modules or ["*_proj"], modules, "automodel", fnmatchcase)


def _check_numbers(lora: unsloth.Lora, config: ModelConfig) -> None:
    layers = None if config.shape is None else config.shape.layers
    if layers is None:
        return
    beyond = [number for number in lora.layers_to_transform or [] if number >= layers]
    if beyond:
        field, what = "layersToTransform", f"layer {max(beyond)}"
    elif ends := [last for _, last in lora.layer_replication or [] if last > layers]:
        field, what = "layerReplication", f"layers up to {max(ends)}"
    else:
        return
    raise _unfit(f"lora.{field} names {what}; the model has {layers}, from 0 to {layers - 1}.", "unsloth", field)


def _check_targets(
    targets: Sequence[str], modules: Sequence[str], backend: str, matches: Callable[[str, str], bool]
) -> None:
    """Compares the last parts of names alone: what comes before them depends on the class that a backend uses."""
    names = {module.rpartition(".")[2] for module in modules}
    names.update(fused for part, fused in _FUSED.items() if part in names)
    if any(matches(name, target.rpartition(".")[2]) for name in names for target in targets):
        return
    raise _unfit(
        f"The model has no layer that is called {' or '.join(targets[:_SHOWN])}; it has {_list_linear(modules)}.",
        backend,
        "targetModules",
    )


def _check_excluded(excluded: Sequence[str], modules: Sequence[str]) -> None:
    linear = [module for module in modules if _may_be_linear(module)]
    left = [
        module
        for module in linear
        if not any(module.rpartition(".")[2] == name or fnmatchcase(module, name) for name in excluded)
    ]
    if linear and not left:
        raise _unfit("lora.excludeModules leaves no layer to adapt.", "automodel", "excludeModules")


def _may_be_linear(module: str) -> bool:
    return not any(part in module.lower() for part in _NO_LINEAR)


def _list_linear(modules: Sequence[str]) -> str:
    names = sorted({module.rpartition(".")[2] for module in modules if _may_be_linear(module)})
    return ", ".join(names[:_SHOWN]) or "none"


def _unfit(message: str, backend: str, field: str) -> CustomizerError:
    return CustomizerError(Reason.LORA_UNFIT, message, field=f"{backend}.training.lora.{field}")
