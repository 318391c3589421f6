"""Objects and results that the tests start from."""

import copy
from typing import Any

from customizer_contract.errors import Reason
from customizer_contract.result import (
    ArtifactReference,
    DatasetFacts,
    Lengths,
    ModelFacts,
    Problem,
    Result,
    SplitFacts,
    TrainingFacts,
)

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "max_position_embeddings": 2048,
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "dtype": "bfloat16",
}
"""The configuration of a model of 8 billion parameters."""
_LENGTHS = Lengths(mean=40.0, p50=38, p95=90, max=120)
DIGEST = "a" * 64


def job(name: str = "tickets", **spec: Any) -> dict[str, Any]:
    """A CustomizationJob of two nodes; members of the spec can be replaced."""
    return {
        "apiVersion": "customizer.dev/v1alpha1",
        "kind": "CustomizationJob",
        "metadata": {"name": name},
        "spec": {
            "model": {"s3": {"uri": "s3://bucket/model"}},
            "dataset": {"training": {"s3": {"uri": "s3://bucket/train.jsonl"}}},
            "automodel": {"parallelism": {"numNodes": 2}},
            "output": {"s3": {"uri": "s3://bucket/out"}},
            "objectStorage": {"credentialsSecretRef": {"name": "s3"}},
            "compute": {"device": "cpu"},
            **copy.deepcopy(spec),
        },
    }


def passed(**model: Any) -> str:
    """Preflight's result when all is well: 80 samples to train on, 10 steps of 8; facts of the model can be added."""
    dataset = DatasetFacts(
        format="prompt-completion",
        training=SplitFacts(samples=80, tokens=3200, lengths=_LENGTHS),
        validation=SplitFacts(samples=8, tokens=320, lengths=_LENGTHS),
        digest=DIGEST,
    )
    facts = ModelFacts(architecture="LlamaForCausalLM", parameters=135_000_000, context_length=2048, **model)
    return Result(command="preflight", dataset=dataset, model=facts, warnings=["3 rows are duplicates"]).to_json()


def trained() -> str:
    """Rank 0's result when it has published."""
    artifact = ArtifactReference(
        name="tickets",
        uri="s3://bucket/out",
        manifest_digest=DIGEST,
        type="adapter",
        base_model="s3://bucket/model",
        size_bytes=1000,
        prompt_format="completion",
    )
    training = TrainingFacts(step=10, total_steps=10, train_loss=1.5, validation_loss=1.6)
    return Result(command="train", artifact=artifact, training=training).to_json()


def failed(reason: Reason, message: str = "It went wrong.", **place: Any) -> str:
    """A result with an error of the catalogue."""
    return Result(command="train", error=Problem(reason=reason, message=message, **place)).to_json()
