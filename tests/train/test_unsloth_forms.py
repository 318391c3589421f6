"""What Unsloth's adapters become: one to the base's own weights, or a model in 16 or in 4 bits."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.train.harness import Pod, Storage, build_job
from tests.train.pods import download, fetch, mean_loss, train

SMALL: dict[str, Any] = {
    "schedule": {"maxSteps": 8, "evalSteps": 4},
    "batch": {"perDeviceTrainBatchSize": 4},
    "optimizer": {"learningRate": 0.01, "labelSmoothingFactor": 0.1, "neftuneNoiseAlpha": 1},
}


def publish(storage: Storage, disk: Path, name: str, blocks: dict[str, Any], **options: Any) -> tuple[Any, Path, Pod]:
    """Trains, and returns the manifest, the artifact's folder and the pod."""
    job = build_job(storage, name, data="s3://tests/data/pairs", backend="unsloth", **options, **{**SMALL, **blocks})
    pod = Pod(disk / "pod", job, storage, environment={"WANDB_MODE": "offline"})
    fetch(pod)
    outcome = train(pod).wait()
    assert outcome.code == 0, outcome.log
    assert outcome.result.warnings == []
    return download(storage, f"s3://tests/out/{name}", disk / "artifact"), disk / "artifact", pod


def test_an_adapter_that_began_with_the_bases_weights_fits_the_base_itself(
    storage: Storage, model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    blocks = {
        "model": {"maxSeqLength": 64, "loadIn4bit": False, "ropeScaling": {"ropeType": "linear", "factor": 2}},
        "training": {"lora": {"rank": 8, "initLoraWeights": "pissa", "layersToTransform": [1]}},
    }
    tracked = {"wandb": {"baseUrl": "http://127.0.0.1:1"}}
    manifest, adapter, pod = publish(storage, tmp_path, "unsloth-pissa", blocks, integrations=tracked)
    assert manifest.adapter.rank == 16
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    base = AutoModelForCausalLM.from_pretrained(model, rope_parameters=scaled)
    loaded = PeftModel.from_pretrained(base, adapter)
    assert {name for name, _ in loaded.named_parameters() if "lora_A" in name and ".layers.0." in name} == set()
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert mean_loss(loaded, tokenizer, storage) == pytest.approx(manifest.metrics["validation_loss"], rel=1e-3)
    assert list((pod.disk / "workspace").glob("attempt-1/trackers/wandb/wandb/offline-run-*/run-*.wandb"))


def test_a_model_in_4_bits_holds_what_was_trained_in_full_beside_the_adapter(storage: Storage, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    blocks = {
        "model": {"maxSeqLength": 64},
        "training": {"lora": {"rank": 8, "useDora": True, "modulesToSave": ["lm_head"]}},
        "schedule": {
            **SMALL["schedule"],
            "lrSchedulerType": "cosine_with_restarts",
            "lrSchedulerKwargs": {"numCycles": 2},
        },
        "output": {"saveMethod": "merged_4bit"},
    }
    manifest, folder, pod = publish(storage, tmp_path, "unsloth-4bit", blocks)
    rates = [event.learning_rate for _, event in sorted(pod.steps(1).items())]
    assert rates[4] > rates[3], "it starts anew in the middle"
    assert manifest.type == "model"
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization_config"]["load_in_4bit"] is True
    assert config["tie_word_embeddings"] is False
    model, notes = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not notes["missing_keys"]
    assert type(model.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    loss = mean_loss(model, AutoTokenizer.from_pretrained(folder), storage)
    # Trained beside weights of 4 bits, merged into those of 32, and rounded to 4 again.
    assert loss == pytest.approx(manifest.metrics["validation_loss"], rel=0.05)
