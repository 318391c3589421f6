"""The trackers of a CustomizationJob: the contract's, with their secrets by reference."""

from pydantic import Field

from customizer_contract import integrations
from customizer_contract.base import CelRule, Model
from customizer_operator.api.base import MUTABLE
from customizer_operator.api.common import Name


class ApiKeyReference(Model):
    """A key of a Secret of the same namespace."""

    name: Name
    """Name of the Secret."""
    key: str = Field("WANDB_API_KEY", min_length=1, max_length=253)
    """Key within it."""


class Wandb(integrations.Wandb):
    """A run of Weights & Biases."""

    api_key_secret_ref: ApiKeyReference | None = Field(None, json_schema_extra=MUTABLE)
    """The API key. A server of one's own may do without."""

    cel_rules = (
        CelRule(
            "has(self.apiKeySecretRef) || has(self.baseUrl)",
            "Weights & Biases wants an API key: give apiKeySecretRef, or the baseUrl of a server that needs none",
        ),
    )


class Integrations(Model):
    """Trackers that are told of the training while it runs."""

    wandb: Wandb | None = None
    """A run of Weights & Biases."""
    mlflow: integrations.Mlflow | None = None
    """A run of MLflow."""

    cel_rules = integrations.Integrations.cel_rules

    def without_secrets(self) -> integrations.Integrations:
        """Returns what the trainer is told."""
        fields = self.model_dump(exclude={"wandb": {"api_key_secret_ref"}})
        return integrations.Integrations.model_validate(fields)
