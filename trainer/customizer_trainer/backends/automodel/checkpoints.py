"""What nemo_automodel 0.7.0 lacks to save on nodes that share no disk, and to load what others have saved."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nemo_automodel.components.checkpoint import checkpointing
from torch.nn.parallel import DistributedDataParallel

from customizer_trainer.backends.automodel.position import share_anew

_RANKS = "customizer_data_ranks"


@dataclass(frozen=True, slots=True)
class _Position:
    """A position in the data, as the library asks for it when it saves."""

    state: dict[str, Any]

    def state_dict(self) -> dict[str, Any]:
        return self.state


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
    _resume_on_other_ranks()


def _resume_on_other_ranks() -> None:
    """Lets more or fewer ranks go on than have saved. Weights and optimizer are shared out anew by the library."""
    # checkpointing.py:1756 saves a rank's own position in the data, but not how many share each batch; ranks that share
    # a sample's tokens write files of their own, so that these cannot be counted.
    save_position = checkpointing.Checkpointer.save_on_dp_ranks

    @functools.wraps(save_position)
    def save_with_ranks(self: Any, loader: Any, name: str, path: str) -> None:
        save_position(self, _Position({**loader.state_dict(), _RANKS: loader.dp_world_size}), name, path)

    # checkpointing.py:1779 loads a rank's own position, which more ranks do not have, and which for fewer ranks is that
    # of another sample.
    @functools.wraps(checkpointing.Checkpointer.load_on_dp_ranks)
    def load_shared(self: Any, loader: Any, name: str, path: str) -> None:
        folder = Path(path) / name
        position = checkpointing.load_torch_ckpt(folder / f"{name}_dp_rank_0.pt", weights_only=True)
        before, after = position.pop(_RANKS), loader.dp_world_size
        if before != after:
            position = share_anew(position, before, after, loader.batch_size)
        loader.load_state_dict(position)

    # checkpointing.py:1811 loads a rank's own random state; one that is new keeps that of the seed.
    load_random = checkpointing.Checkpointer.load_on_global_ranks

    @functools.wraps(load_random)
    def load_known(self: Any, state: Any, name: str, path: str) -> None:
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        if (Path(path) / name / f"{name}_global_rank_{rank}.pt").exists():
            load_random(self, state, name, path)

    checkpointing.Checkpointer.save_on_dp_ranks = save_with_ranks
    checkpointing.Checkpointer.load_on_dp_ranks = load_shared
    checkpointing.Checkpointer.load_on_global_ranks = load_known
