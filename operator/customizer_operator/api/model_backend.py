"""Who runs the servers of a ModelDeployment: a Deployment of ours, or NVIDIA's operator from a NIMService."""

from typing import Literal

from customizer_contract.base import CelRule

Backend = Literal["Deployment", "NIMService"]

_OURS_ALONE = (
    "probe",
    "evaluation",
    "rollout",
    "cache",
    "autoscaling",
    "topologySpread",
    "drainSeconds",
    "ingress",
    "serviceMonitor",
    "runtime.lora",
    "runtime.chatTemplate",
)
"""What needs a container, a volume or a field that the pods of a NIMService do not have."""

_HAS_SOME = " || ".join(f"has(self.{path})" for path in _OURS_ALONE)

BACKEND_RULES: tuple[CelRule, ...] = (
    CelRule(
        "self.backend != 'NIMService' || (self.runtime.type != 'VLLM' && self.runtime.generation != 'Engine')",
        "a NIMService runs NIMs of generation V1 or V2: choose another runtime, or backend: Deployment",
    ),
    CelRule(
        f"self.backend != 'NIMService' || !({_HAS_SOME})",
        f"the pods of a NIMService have no room for {', '.join(_OURS_ALONE)}: remove them, or choose "
        "backend: Deployment",
    ),
    CelRule(
        "self.backend != 'NIMService' || self.service.port == 8000",
        "a NIMService has the port of its server: service.port must be 8000",
    ),
    CelRule(
        "self.backend != 'NIMService' || self.runtime.type == 'VLLM' || has(self.runtime.ngcSecretRef)",
        "NVIDIA's operator takes no NIMService without a Secret with a key of NGC: name it in runtime.ngcSecretRef",
    ),
    CelRule(
        "self.backend != 'NIMService' || !has(self.tolerations) || "
        "self.tolerations.all(toleration, !has(toleration.tolerationSeconds))",
        "a NIMService tolerates taints for ever: remove tolerationSeconds, or choose backend: Deployment",
    ),
    CelRule(
        "self.backend != 'NIMService' || !has(self.objectStorage) || !has(self.objectStorage.serviceAccountName)",
        "a NIMService has a ServiceAccount of its own: use objectStorage.credentialsSecretRef",
    ),
)
"""What a NIMService cannot do is refused."""

FIXED_BACKEND = CelRule(
    "self.backend == oldSelf.backend",
    "backend cannot change while there are servers: delete the ModelDeployment and create it anew",
)
