"""Starts a rank of Automodel (`training.rank`)."""

import sys

from customizer_trainer.training.rank import Train, run_rank


def load(device: str) -> Train:
    """Imports the library."""
    from customizer_trainer.backends.automodel.rank import train

    return train


if __name__ == "__main__":
    sys.exit(run_rank(load))
