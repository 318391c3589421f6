"""Unsloth trains through the same commands: what is interrupted goes on as if it had not been, what comes out loads."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.errors import Reason
from customizer_contract.job import Job
from tests.train.harness import Pod, Storage, build_job, slowed
from tests.train.pods import chat_loss, check_uploads, download, fetch, mean_loss, train
from tests.train.sft import Trained

SFT: dict[str, Any] = {
    "model": {"maxSeqLength": 64, "loadIn4bit": False},
    "training": {"finetuningType": "all_weights"},
    "schedule": {"epochs": 3, "warmupSteps": 2},
    "batch": {"perDeviceTrainBatchSize": 2, "gradientAccumulationSteps": 4},
    "optimizer": {"learningRate": 0.003, "optim": "adamw_torch"},
}
"""24 steps; validated and saved after each epoch of 8."""
STEPS = 24
LORA: dict[str, Any] = {
    "training": {"lora": {"rank": 8, "alpha": 32}},
    "schedule": {"maxSteps": 8, "evalSteps": 4},
    "batch": {"perDeviceTrainBatchSize": 4},
    "optimizer": {"learningRate": 0.01},
}


def run(storage: Storage, job: Job, disk: Path) -> Trained:
    pod = Pod(disk, job, storage)
    fetch(pod)
    outcome = train(pod).wait()
    assert outcome.code == 0, outcome.log
    return Trained(pod, outcome)


def sft_job(storage: Storage, name: str) -> Job:
    return build_job(storage, name, data="s3://tests/data/pairs", backend="unsloth", **SFT)


def lora_job(storage: Storage, name: str, data: str, **blocks: Any) -> Job:
    return build_job(storage, name, data=f"s3://tests/data/{data}", backend="unsloth", **{**LORA, **blocks})


@pytest.fixture(scope="module")
def unbroken(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """All weights, from the first step to the last."""
    return run(storage, sft_job(storage, "unsloth-unbroken"), tmp_path_factory.mktemp("unbroken"))


def test_a_finished_training_says_what_it_reached_and_published(
    storage: Storage, unbroken: Trained, model: Path
) -> None:
    training, artifact = unbroken.outcome.result.training, unbroken.outcome.result.artifact
    assert training is not None
    assert artifact is not None
    assert (training.step, training.total_steps, training.checkpoint_step) == (STEPS, STEPS, STEPS)
    assert artifact.type == "model"
    assert sorted(unbroken.losses) == list(range(1, STEPS + 1))
    assert unbroken.losses[STEPS] < unbroken.losses[1] - 2
    check_uploads(storage, unbroken.pod.job, model, STEPS, beside=100_000)
    assert sorted(unbroken.pod.validations(1)) == sorted(unbroken.pod.saved(1)) == [8, 16, 24]


def test_a_full_model_is_published_complete_and_has_the_loss_that_was_told(
    storage: Storage, unbroken: Trained, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    manifest = download(storage, "s3://tests/out/unsloth-unbroken", tmp_path / "artifact")
    model, notes = AutoModelForCausalLM.from_pretrained(tmp_path / "artifact", output_loading_info=True)
    assert not notes["missing_keys"]
    assert not notes["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "artifact")
    assert mean_loss(model, tokenizer, storage) == pytest.approx(manifest.metrics["validation_loss"], rel=1e-3)


def test_a_run_on_one_machine_that_is_interrupted_goes_on_with_the_losses_of_one_that_is_not(
    storage: Storage, model: Path, unbroken: Trained, tmp_path: Path
) -> None:
    job = sft_job(storage, "unsloth-broken")
    pod = Pod(tmp_path / "disk", job, storage)
    options = ["--model", str(model), "--output", str(tmp_path / "out")]
    running = pod.start("run", *options)
    with slowed(pod, attempt=1):
        running.until(lambda: len(pod.steps(1)) >= 3)
        # Ctrl-C
        running.process.send_signal(signal.SIGINT)
        stopped = running.wait()
    assert stopped.code == 75, stopped.log
    assert stopped.result.error.reason == Reason.PREEMPTED
    step = stopped.result.training.checkpoint_step
    assert 3 <= step < STEPS

    done = pod.run("run", *options)
    assert done.code == 0, done.log
    assert done.result.training.resumed_from_step == step
    assert done.result.artifact.uri == f"file://{tmp_path / 'out'}"
    assert min(pod.steps(2)) == step + 1
    losses = {number: event.loss for attempt in (1, 2) for number, event in pod.steps(attempt).items()}
    assert losses == pytest.approx(unbroken.losses, rel=1e-4)
    # What is published is not made again.
    before = (tmp_path / "out" / "manifest.json").read_text()
    assert pod.run("run", *options).code == 0
    assert (tmp_path / "out" / "manifest.json").read_text() == before


def test_an_adapter_beside_4_bit_weights_loads_with_peft_and_lowers_the_loss(
    storage: Storage, model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    job = lora_job(storage, "unsloth-adapter", "chat/train.jsonl", model={"maxSeqLength": 128})
    trained = run(storage, job, tmp_path / "pod")
    assert sorted(trained.pod.saved(1)) == [4, 8]
    check_uploads(storage, job, model, step=8, beside=100_000)
    manifest = download(storage, "s3://tests/out/unsloth-adapter", tmp_path / "adapter")
    assert manifest.type == "adapter"
    assert manifest.step == 8
    assert manifest.adapter.rank == 8
    assert manifest.adapter.target_modules == [
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"
    ]  # fmt: skip
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "s3://tests/models/tiny"
    tokenizer, base = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    before = chat_loss(base, tokenizer)
    assert chat_loss(PeftModel.from_pretrained(base, tmp_path / "adapter"), tokenizer) < before - 0.1


def test_a_merged_adapter_is_a_model_in_16_bits_that_has_the_loss_that_was_told(
    storage: Storage, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"model": {"maxSeqLength": 64, "loadIn4bit": False}, "output": {"saveMethod": "merged_16bit"}}
    job = lora_job(storage, "unsloth-merged", "pairs", **options)
    run(storage, job, tmp_path / "pod")
    manifest = download(storage, "s3://tests/out/unsloth-merged", tmp_path / "model")
    assert manifest.type == "model"
    assert manifest.adapter is None
    model, notes = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto", output_loading_info=True)
    assert not notes["missing_keys"]
    assert not notes["unexpected_keys"]
    assert str(model.dtype) == "torch.bfloat16"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    # Rounded to 16 bits when it was merged.
    assert mean_loss(model.float(), tokenizer, storage) == pytest.approx(manifest.metrics["validation_loss"], rel=0.01)


def test_a_loss_that_is_not_finite_ends_the_attempt_for_good(storage: Storage, tmp_path: Path) -> None:
    pod = Pod(
        tmp_path,
        build_job(
            storage,
            "unsloth-diverged",
            data="s3://tests/data/pairs",
            backend="unsloth",
            **{**SFT, "optimizer": {"learningRate": 1e30, "optim": "adamw_torch"}},
        ),
        storage,
    )
    fetch(pod)
    outcome = train(pod).wait()
    assert outcome.code == 65, outcome.log
    assert outcome.result.error.reason == Reason.TRAINING_DIVERGED
