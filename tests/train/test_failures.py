"""What torch itself says when something fails, and the reason of the catalogue that it becomes."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.training.failures import classify
from tests.support.ports import free_port


def load_other_weights() -> None:
    import torch

    torch.nn.Linear(2, 2).load_state_dict(torch.nn.Linear(3, 3).state_dict())


def load_fewer_weights() -> None:
    import torch

    torch.nn.Linear(2, 2).load_state_dict({})


def embed_an_unknown_token() -> None:
    import torch

    torch.nn.Embedding(4, 2)(torch.tensor([4]))


def allocate_too_much() -> None:
    import torch

    torch.empty(2**60)


def write_to_a_full_disk() -> None:
    import torch

    torch.save(torch.zeros(2**20), "/dev/full")


def meet_nobody() -> None:
    from torch.distributed import TCPStore

    TCPStore("127.0.0.1", free_port(), 2, is_master=True, timeout=timedelta(seconds=1))


def ask_nobody() -> None:
    from torch.distributed import TCPStore

    port = free_port()
    store = TCPStore("127.0.0.1", port, 1, is_master=True, timeout=timedelta(seconds=1))
    store.get("what no rank has said")


FAILURES: dict[str, tuple[Callable[[], None], Reason]] = {
    "weights of another shape": (load_other_weights, Reason.CHECKPOINT_MISMATCH),
    "weights that are missing": (load_fewer_weights, Reason.CHECKPOINT_MISMATCH),
    "a token that the model does not know": (embed_an_unknown_token, Reason.TOKENIZER_INVALID),
    "memory that the machine does not have": (allocate_too_much, Reason.OUT_OF_MEMORY),
    "a full disk": (write_to_a_full_disk, Reason.DISK_FULL),
    "nodes that do not come": (meet_nobody, Reason.RENDEZVOUS_TIMEOUT),
    "a rank that says nothing": (ask_nobody, Reason.COLLECTIVE_TIMEOUT),
}


@pytest.mark.parametrize(("fail", "reason"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_of_torch_is_of_the_catalogue(fail: Callable[[], None], reason: Reason) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        fail()
    assert classify(raised.value)[0] is reason, raised.value


def test_a_model_that_the_library_could_not_convert_is_not_trained_as_if_it_had_been() -> None:
    import torch
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    from customizer_trainer.backends.automodel.fp8 import check_layers

    model = torch.nn.Sequential(torch.nn.Linear(16, 16))
    with pytest.raises(CustomizerError) as raised:
        check_layers([model])
    assert raised.value.reason is Reason.ARCHITECTURE_UNSUPPORTED
    check_layers([convert_to_float8_training(model, config=Float8LinearConfig(emulate=True))])
