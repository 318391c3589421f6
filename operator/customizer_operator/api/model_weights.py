"""How the full weights of a ModelDeployment reach its servers: by our stage container, or by the server itself."""

from typing import Literal

from customizer_contract.base import CelRule

Weights = Literal["Staged", "Direct"]

WEIGHT_RULES: tuple[CelRule, ...] = (
    CelRule(
        "self.weights != 'Direct' || (self.runtime.type != 'VLLM' && self.runtime.generation in ['Auto', 'V2'])",
        "only a NIM of generation V2 reads s3:// itself: choose one, or weights: Staged",
    ),
    CelRule(
        "self.weights != 'Direct' || (!has(self.cache) && !has(self.runtime.lora))",
        "cache and runtime.lora need the weights on a disk that can be compared with adapters: remove them, or choose "
        "weights: Staged",
    ),
)

DIRECT_SOURCES = CelRule(
    "self.weights != 'Direct' || (!has(self.model.huggingFace) && !has(self.model.persistentVolumeClaim))",
    "a server reads weights by itself from S3 alone: name an artifact, a job or s3, or choose weights: Staged",
)
