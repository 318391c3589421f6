"""What nemo_automodel 0.7.0 lacks to save on nodes that share no disk, and to load what replicas have saved."""

import functools
from typing import Any

from nemo_automodel.components.checkpoint import checkpointing
from torch.nn.parallel import DistributedDataParallel


def install() -> None:
    """Patches the library's checkpointing; each patch stands for one line of it."""
    # checkpointing.py:2461 creates folders on rank 0 alone; each node keeps what its own ranks write.
    checkpointing._ensure_shared_dirs = checkpointing._ensure_dirs
    # base_recipe.py:700 saves a replicated model without its DistributedDataParallel, but loads it with; then tied
    # embeddings are not seen, and the head that was not saved is missed.
    load_model = checkpointing.Checkpointer.load_model

    @functools.wraps(load_model)
    def load_unwrapped(self: Any, model: Any, *args: Any, **options: Any) -> Any:
        parts = [
            part.module if isinstance(part, DistributedDataParallel) else part
            for part in (model if isinstance(model, list) else [model])
        ]
        return load_model(self, parts, *args, **options)

    checkpointing.Checkpointer.load_model = load_unwrapped
