"""LoRA adapters that nobody trained, for tests that serve: published as a job publishes, in a moment."""

import hashlib
import json
import struct
from datetime import UTC, datetime
from pathlib import Path

from customizer_contract.artifact import AdapterReference, BaseModelReference, File, JobReference, Manifest
from customizer_trainer.storage.digest import model_digest
from tests.support import storage

WEIGHTS = "adapter_model.safetensors"
_RANK = 8
_TARGET = "q_proj"


def publish(bucket: str, prefix: str, *, name: str, base: Path, base_uri: str, strength: float = 0.01) -> str:
    """Publishes an adapter of the model in `base`, which servers find at `base_uri`; returns its address.

    `strength` is the largest of its numbers: the stronger, the less of what the model has learned is left.
    """
    config = json.loads((base / "config.json").read_text())
    settings = {
        "base_model_name_or_path": base_uri,
        "bias": "none",
        "lora_alpha": 2 * _RANK,
        "peft_type": "LORA",
        "r": _RANK,
        "target_modules": [_TARGET],
        "task_type": "CAUSAL_LM",
    }
    contents = {
        "adapter_config.json": json.dumps(settings).encode(),
        WEIGHTS: _build_weights(config["hidden_size"], config["num_hidden_layers"], strength),
    }
    files = [
        File(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in contents.items()
    ]
    manifest = Manifest(
        name=name,
        type="adapter",
        files=files,
        base_model=BaseModelReference(uri=base_uri, digest=model_digest(base)),
        adapter=AdapterReference(rank=_RANK, alpha=2 * _RANK, target_modules=[_TARGET]),
        prompt_format="completion",
        dataset_digest="0" * 64,
        job=JobReference(name=name, namespace="tests", uid="1", spec_hash="0" * 64),
        step=1,
        metrics={},
        packages={},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    for path, content in {**contents, "manifest.json": manifest.to_json().encode()}.items():
        storage.client().put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=content)
    return f"s3://{bucket}/{prefix}"


def _build_weights(width: int, layers: int, strength: float) -> bytes:
    """Returns a safetensors file with small numbers that are not zero, in float32."""
    count = _RANK * width
    matrix = struct.pack(f"<{count}f", *((number % 7 - 3) / 3 * strength for number in range(count)))
    header: dict[str, object] = {}
    body = b""
    for layer in range(layers):
        for part, shape in (("lora_A", [_RANK, width]), ("lora_B", [width, _RANK])):
            tensor = f"base_model.model.model.layers.{layer}.self_attn.{_TARGET}.{part}.weight"
            header[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(matrix)]}
            body += matrix
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body
