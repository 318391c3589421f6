"""Lets nemo_automodel 0.7.0 train without a GPU. Each patch stands for one line that asks for CUDA unconditionally."""

import functools
from collections.abc import Callable
from typing import Any

import torch


def install() -> None:
    """Patches torch and nemo_automodel. Only for jobs whose device is cpu: a missing GPU must never go unnoticed."""
    from nemo_automodel._transformers import auto_model
    from nemo_automodel.components.models.gpt_oss import rope_utils

    def on_cpu(build: Callable[..., Any]) -> Callable[..., Any]:
        return functools.wraps(build)(lambda *args, **kwargs: build(*args, **{**kwargs, "device": torch.device("cpu")}))

    # models/common/utils.py:799 compiles a helper of the loss; g++ takes 40 s for it, more than it can win back here.
    torch._dynamo.config.disable = True
    # recipes/llm/train_ft.py:561 and :1860, before the first and after each step.
    torch.cuda.reset_peak_memory_stats = lambda device=None: None
    # _transformers/auto_model.py:498, :770 and :886, to choose where weights are loaded.
    torch.cuda.current_device = lambda: 0
    auto_model.instantiate_infrastructure = on_cpu(auto_model.instantiate_infrastructure)
    auto_model.apply_model_infrastructure = on_cpu(auto_model.apply_model_infrastructure)
    # models/qwen3_moe/model.py:184 and :237, and their like: where a mixture of experts computes its positions.
    rope_utils.RotaryEmbedding.device = property(lambda _: torch.device("cpu"), lambda _, device: None)
    _share_attention()


def _share_attention() -> None:
    """Lets context parallelism use the CPU's attention kernel.

    torch 2.13.0, _context_parallel/_attention.py:939, names the kernels of GPUs only.
    """
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor.experimental._context_parallel import _attention as ring

    forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default
    along_tokens = 2  # of (batch, heads, tokens, width)

    def local(tensors: tuple[Any, ...]) -> list[torch.Tensor]:
        return [tensor.to_local() for tensor in tensors]

    def like(one: Any, tensors: tuple[torch.Tensor, ...]) -> tuple[Any, ...]:
        mesh, placements = one.device_mesh, one.placements
        return tuple(DTensor.from_local(tensor, mesh, placements, run_check=False) for tensor in tensors)

    def attend(_: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        query, key, value, dropout, causal = list(args) + [0.0, False][len(args) - 3 :]
        done = ring._templated_ring_attention(
            query.device_mesh.get_group(),
            along_tokens,
            forward,
            *local((query, key, value)),
            dropout_p=dropout,
            is_causal=causal,
            scale=options.get("scale"),
        )
        return like(query, done)

    def attend_backward(_: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        gradient, query, key, value, out, logsumexp, dropout, causal = args
        done = ring._templated_ring_attention_backward(
            query.device_mesh.get_group(),
            along_tokens,
            backward,
            gradient.to_local(),
            "grad_out",
            *local((query, key, value, out, logsumexp)),
            dropout_p=dropout,
            is_causal=causal,
            scale=options.get("scale"),
        )
        return like(query, done)

    ring.custom_ops.update({forward: attend, backward: attend_backward})
