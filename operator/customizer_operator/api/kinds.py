"""The kinds that have a CRD."""

from customizer_operator.api.base import Resource
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.api.model_deployment import ModelDeployment

KINDS: tuple[type[Resource], ...] = (CustomizationJob, ModelDeployment)
