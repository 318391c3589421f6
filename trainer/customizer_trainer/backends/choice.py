"""Which backend a job names. Imports neither torch nor the libraries themselves."""

from customizer_contract.job import Job
from customizer_trainer.backends.automodel import architectures
from customizer_trainer.backends.automodel import artifact as automodel_artifact
from customizer_trainer.backends.automodel import packing as automodel_packing
from customizer_trainer.backends.automodel import recipe as automodel_recipe
from customizer_trainer.backends.backend import Backend
from customizer_trainer.backends.unsloth import artifact as unsloth_artifact
from customizer_trainer.backends.unsloth import packing as unsloth_packing
from customizer_trainer.backends.unsloth import settings as unsloth_settings

_AUTOMODEL = Backend(
    worker="customizer_trainer.backends.automodel.run",
    packages=("customizer", "nemo_automodel", "peft", "torch", "transformers"),
    own_architectures=architectures.OWN,
    build_recipe=automodel_recipe.build_recipe,
    find_packing_obstacle=automodel_packing.find_obstacle,
    # What a CPU cannot do is refused where it is applied.
    warn_of_device=lambda job: [],
    warn_of_serving=lambda job: [],
    published_from="model/*",
    assemble=automodel_artifact.assemble,
)
_UNSLOTH = Backend(
    worker="customizer_trainer.backends.unsloth.run",
    packages=("bitsandbytes", "customizer", "peft", "torch", "transformers", "trl", "unsloth", "unsloth_zoo"),
    own_architectures=frozenset(),
    build_recipe=unsloth_settings.build_settings,
    find_packing_obstacle=unsloth_packing.find_obstacle,
    warn_of_device=unsloth_settings.warn_of_device,
    warn_of_serving=unsloth_settings.warn_of_serving,
    published_from="*",
    assemble=unsloth_artifact.assemble,
)


def find_backend(job: Job) -> Backend:
    """Returns the backend of a job."""
    return _UNSLOTH if job.unsloth is not None else _AUTOMODEL
