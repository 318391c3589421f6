"""Lets nemo_automodel 0.7.0 train without a GPU. Each patch stands for one line that asks for CUDA unconditionally."""

import functools
from collections.abc import Callable
from typing import Any

import torch


def install() -> None:
    """Patches torch and nemo_automodel. Only for jobs whose device is cpu: a missing GPU must never go unnoticed."""
    from nemo_automodel._transformers import auto_model

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
