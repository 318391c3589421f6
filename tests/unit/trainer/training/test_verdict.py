from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.training.events import Ended, Failed
from customizer_trainer.training.failures import classify
from customizer_trainer.training.verdict import End, judge

DONE = End(
    exit_code=0,
    processes=1,
    told_to_stop=False,
    nodes=1,
    total_steps=10,
    started=True,
    ended=[Ended(step=10)],
    failed=[],
    killed_for_memory=False,
    disk_is_full=False,
)
PEER_LOST = Failed(rank=0, at=1.0, reason=Reason.PEER_LOST, message="connection closed by peer")
NO_MEMORY = Failed(rank=1, at=2.0, reason=Reason.GPU_OUT_OF_MEMORY, message="CUDA out of memory")
NO_DISK = Failed(rank=2, at=1.5, reason=Reason.DISK_FULL, message="no space left on device")
LATE = Failed(rank=3, at=3.0, reason=Reason.COLLECTIVE_TIMEOUT, message="timed out waiting")
UNKNOWN = Failed(rank=0, at=1.0, reason=Reason.CRASHED, message="something with the stream")
FAILED = replace(DONE, exit_code=1, ended=[])

CASES = {
    "all steps are done": (DONE, None),
    "told to stop after the last step: done all the same": (replace(DONE, told_to_stop=True), None),
    "saved before the end: preempted": (replace(DONE, ended=[Ended(step=4)], told_to_stop=True), Reason.PREEMPTED),
    "another node was told to stop": (replace(DONE, ended=[Ended(step=4)]), Reason.PREEMPTED),
    "killed while it was still loading": (replace(FAILED, told_to_stop=True), Reason.PREEMPTED),
    "a rank says why": (replace(FAILED, failed=[NO_MEMORY]), Reason.GPU_OUT_OF_MEMORY),
    "the cause counts, not the loudest": (replace(FAILED, failed=[PEER_LOST, NO_MEMORY]), Reason.GPU_OUT_OF_MEMORY),
    "the cause counts although told to stop": (
        replace(FAILED, failed=[NO_MEMORY], told_to_stop=True),
        Reason.GPU_OUT_OF_MEMORY,
    ),
    "the first of several causes": (replace(FAILED, failed=[NO_MEMORY, NO_DISK]), Reason.DISK_FULL),
    "the first of those that missed another": (replace(FAILED, failed=[LATE, PEER_LOST]), Reason.PEER_LOST),
    "a peer is lost": (replace(FAILED, failed=[PEER_LOST], nodes=2), Reason.PEER_LOST),
    "a peer is lost for memory here": (
        replace(FAILED, failed=[PEER_LOST], killed_for_memory=True),
        Reason.OUT_OF_MEMORY,
    ),
    "no room for saying why": (replace(FAILED, disk_is_full=True), Reason.DISK_FULL),
    "no room for saving when told to stop": (
        replace(FAILED, disk_is_full=True, told_to_stop=True),
        Reason.DISK_FULL,
    ),
    "all steps are done on a full disk": (replace(DONE, disk_is_full=True), None),
    "a crash on a full disk": (
        replace(FAILED, failed=[UNKNOWN], disk_is_full=True),
        Reason.DISK_FULL,
    ),
    "another cause on a full disk": (replace(FAILED, failed=[NO_MEMORY], disk_is_full=True), Reason.GPU_OUT_OF_MEMORY),
    "the nodes never met": (replace(FAILED, nodes=2, started=False), Reason.RENDEZVOUS_TIMEOUT),
    "nobody says why": (FAILED, Reason.CRASHED),
    "torchrun ends well but no rank did": (replace(DONE, ended=[]), Reason.CRASHED),
    "torchrun ends badly but every rank well": (replace(DONE, exit_code=-9), None),
    "one rank of two ends well": (replace(FAILED, processes=2, ended=[Ended(step=10)]), Reason.CRASHED),
}


@pytest.mark.parametrize(("end", "reason"), CASES.values(), ids=CASES.keys())
def test_the_end_of_an_attempt_is_judged(end: End, reason: Reason | None) -> None:
    error = judge(end)
    assert (error.reason if error else None) == reason


def test_the_first_rank_that_failed_is_named() -> None:
    error = judge(replace(FAILED, failed=[LATE, NO_MEMORY, NO_DISK, PEER_LOST]))
    assert error is not None
    assert (error.rank, str(error)) == (2, "Rank 2: no space left on device")


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


class NoMatchingPeftModuleError(ValueError):
    """As PEFT names it."""


FAILURES: dict[str, tuple[Exception, Reason]] = {
    "of the catalogue": (CustomizerError(Reason.TRAINING_DIVERGED, "nan"), Reason.TRAINING_DIVERGED),
    "the GPU's memory": (OutOfMemoryError("CUDA out of memory"), Reason.GPU_OUT_OF_MEMORY),
    "the GPU's memory, as CUDA says it": (RuntimeError("CUDA error: out of memory"), Reason.GPU_OUT_OF_MEMORY),
    "the kernel's memory": (OSError(12, "Cannot allocate memory"), Reason.OUT_OF_MEMORY),
    "weights of another shape": (
        RuntimeError("Error(s) in loading state_dict for Llama: size mismatch for lm_head.weight"),
        Reason.CHECKPOINT_MISMATCH,
    ),
    "a token that the model does not know": (IndexError("index out of range in self"), Reason.TOKENIZER_INVALID),
    "a token that the model does not know, as CUDA says it": (
        RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA"),
        Reason.TOKENIZER_INVALID,
    ),
    "an adapter that finds no layer, by PEFT": (
        NoMatchingPeftModuleError("Target modules {'W_pack'} not found in the base model."),
        Reason.LORA_UNFIT,
    ),
    "an adapter that finds no layer, by Automodel": (
        ValueError("optimizer received no trainable parameters"),
        Reason.LORA_UNFIT,
    ),
    "nodes that did not come": (
        RuntimeError("Timed out after 1800 seconds waiting for clients. 1/2 clients joined."),
        Reason.RENDEZVOUS_TIMEOUT,
    ),
    "a rank that hangs, by gloo": (
        RuntimeError("[gloo/transport/tcp/unbound_buffer.cc] Timed out waiting 1800000ms for recv operation"),
        Reason.COLLECTIVE_TIMEOUT,
    ),
    "a rank that hangs, by NCCL": (
        RuntimeError("[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE)"),
        Reason.COLLECTIVE_TIMEOUT,
    ),
    "a driver that is broken": (RuntimeError("No CUDA GPUs are available"), Reason.DEVICE_UNAVAILABLE),
    "the host's memory": (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        Reason.OUT_OF_MEMORY,
    ),
    "the disk": (OSError(28, "No space left on device"), Reason.DISK_FULL),
    "the disk, as torch says it": (RuntimeError("PytorchStreamWriter failed writing file data/0"), Reason.DISK_FULL),
    "the disk, as C++ says it": (RuntimeError("basic_ios::clear: iostream error"), Reason.DISK_FULL),
    "the disk, as safetensors says it": (
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        Reason.DISK_FULL,
    ),
    "gloo": (RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer [::1]:1"), Reason.PEER_LOST),
    "NCCL": (RuntimeError("NCCL communicator was aborted on rank 1"), Reason.PEER_LOST),
    "anything else": (ValueError("NCCL is a fine word"), Reason.CRASHED),
}


@pytest.mark.parametrize(("error", "reason"), FAILURES.values(), ids=FAILURES.keys())
def test_exceptions_are_of_the_catalogue(error: Exception, reason: Reason) -> None:
    assert classify(error)[0] is reason


def test_weights_that_were_cut_off_are_the_model_s_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.zeros(1000, np.float32)}, path)
    for size in (2000, 20, 4):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(SafetensorError) as raised:
            safe_open(path, "np")
        assert classify(raised.value)[0] is Reason.MODEL_INVALID, raised.value
