"""Where the loaders of another number of ranks go on in the data: pure."""

from typing import Any

from customizer_contract.errors import CustomizerError, Reason


def share_anew(position: dict[str, Any], before: int, after: int, batch_size: int) -> dict[str, Any]:
    """Returns a rank's position in the data, given that of one of the ranks that saved; all of these stand alike.

    `before` and `after` are how many share each batch of the training. All together take the same samples in the same
    order, however many they are, so each has done its share of what is done. Raises CheckpointMismatch where that is
    no whole number of batches.
    """
    state = position["_sampler_iter_state"]
    done = state["samples_yielded"] * before
    samples, rest = divmod(done, after)
    batches, incomplete = divmod(samples, batch_size)
    if rest or incomplete:
        raise CustomizerError(
            Reason.CHECKPOINT_MISMATCH,
            f"{after} ranks with batches of {batch_size} cannot go on after {done} samples of an epoch.",
        )
    return {
        **position,
        "_sampler_iter_state": {**state, "samples_yielded": samples, "sampler_state": {"yielded": samples}},
        "_sampler_iter_yielded": batches,
        "_num_yielded": batches,
    }
