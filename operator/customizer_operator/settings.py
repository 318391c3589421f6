"""What an administrator sets: environment variables, read once at start."""

from collections.abc import Mapping
from dataclasses import dataclass

from customizer_operator.objects.images import Images

RESYNC_SECONDS = 1200.0
"""By default. Watches tell what is news, and looking at thousands of objects takes tens of seconds of a core."""


class SettingsError(Exception):
    """The environment does not say what the operator needs; the message names the variable."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings.

    `CUSTOMIZER_IO_IMAGE`: image of preflight, fetch, verify and stage.
    `CUSTOMIZER_AUTOMODEL_IMAGE`, `CUSTOMIZER_UNSLOTH_IMAGE`: images that train, unless spec.compute.image names one.
    `CUSTOMIZER_VLLM_IMAGE`, `CUSTOMIZER_MULTI_LLM_IMAGE`: images that serve, unless spec.runtime.image names another.
    `CUSTOMIZER_OWN_NAMESPACE`: where the operator runs; NetworkPolicies let it in from there alone.
    `CUSTOMIZER_NAMESPACES`: comma-separated; the whole cluster when empty.
    `CUSTOMIZER_RESYNC_SECONDS`: how often everything is listed; in that time every object is looked at once.
    `CUSTOMIZER_WORKERS`: objects decided on at the same time.
    `CUSTOMIZER_LEASE_NAMESPACE`: where the Lease is that lets one of several operators write; without it there must
    be one operator alone.
    `CUSTOMIZER_HEALTH_PORT`, `CUSTOMIZER_METRICS_PORT`: where `/healthz` and `/readyz`, and `/metrics`, are served; off
    with 0.
    """

    images: Images
    namespaces: tuple[str, ...] = ()
    resync_seconds: float = RESYNC_SECONDS
    workers: int = 4
    health_port: int = 8081
    metrics_port: int = 8082
    lease_namespace: str = ""
    own_namespace: str | None = None


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Parses the environment."""
    return Settings(
        images=Images(
            io=_required(environment, "CUSTOMIZER_IO_IMAGE"),
            automodel=_required(environment, "CUSTOMIZER_AUTOMODEL_IMAGE"),
            unsloth=_required(environment, "CUSTOMIZER_UNSLOTH_IMAGE"),
            vllm=environment.get("CUSTOMIZER_VLLM_IMAGE") or None,
            multi_llm=environment.get("CUSTOMIZER_MULTI_LLM_IMAGE") or None,
        ),
        namespaces=tuple(
            name.strip() for name in environment.get("CUSTOMIZER_NAMESPACES", "").split(",") if name.strip()
        ),
        resync_seconds=_number(environment, "CUSTOMIZER_RESYNC_SECONDS", RESYNC_SECONDS),
        workers=int(_number(environment, "CUSTOMIZER_WORKERS", 4)),
        health_port=int(_number(environment, "CUSTOMIZER_HEALTH_PORT", 8081)),
        metrics_port=int(_number(environment, "CUSTOMIZER_METRICS_PORT", 8082)),
        lease_namespace=environment.get("CUSTOMIZER_LEASE_NAMESPACE", ""),
        own_namespace=environment.get("CUSTOMIZER_OWN_NAMESPACE") or None,
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set: name the image")
    return value


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    try:
        return float(text) if text else default
    except ValueError as error:
        raise SettingsError(f"{name} is not a number: {text}") from error
