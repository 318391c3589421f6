"""Starts a rank of Automodel (`training.rank`)."""

import sys

from customizer_trainer.training.rank import Train, run_rank

_LEFT_OUT = ("mlflow", "wandb")
"""The library imports them wherever they are installed, which takes a quarter of a rank's start; ours run elsewhere."""


def load(device: str) -> Train:
    """Imports the library."""
    for name in _LEFT_OUT:
        sys.modules[name] = None  # type: ignore[assignment]  # an import fails as if it were not installed
    from customizer_trainer.backends.automodel.rank import train

    return train


if __name__ == "__main__":
    sys.exit(run_rank(load))
