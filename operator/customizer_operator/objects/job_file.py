"""The job file: what the spec says, in the words of the contract."""

from customizer_contract.job import DatasetInput, Job, ModelInput
from customizer_contract.paths import VOLUMES
from customizer_contract.sources import HuggingFaceSource, ObjectStorage, S3Source, VolumeSource
from customizer_contract.sources import Source as ContractSource
from customizer_operator.api import common
from customizer_operator.api.base import Object
from customizer_operator.api.customization_job import CustomizationJob, CustomizationJobSpec
from customizer_operator.objects.names import build_job_labels, build_owner, config_map_name
from customizer_operator.objects.quantities import count_bytes

FILE = "job.json"


def translate_source(source: common.Source, use: str) -> ContractSource:
    """Returns the source as the pods see it; `use` names the folder below which a claim is mounted."""
    if source.hugging_face is not None:
        return HuggingFaceSource(repo=source.hugging_face.repo, revision=source.hugging_face.revision)
    if source.s3 is not None:
        return S3Source(uri=source.s3.uri)
    claim = source.persistent_volume_claim
    if claim is None:
        raise ValueError("name exactly one of huggingFace, s3 and persistentVolumeClaim")
    return VolumeSource(path=VOLUMES / use / claim.path, claim_name=claim.claim_name, claim_path=claim.path)


def _translate_model(source: common.ModelSource, use: str) -> ModelInput:
    return ModelInput(source=translate_source(source, use), trust_remote_code=source.trust_remote_code)


def translate_storage(storage: common.ObjectStorage) -> ObjectStorage:
    """Returns how S3 is reached, without the credentials."""
    return ObjectStorage(endpoint_url=storage.endpoint_url, region=storage.region)


def find_claims(spec: CustomizationJobSpec) -> dict[str, common.ClaimLocation]:
    """Returns the claims that the sources name, by use."""
    sources = {
        "model": spec.model,
        "teacher": spec.teacher,
        "training": spec.dataset.training,
        "validation": spec.dataset.validation,
    }
    return {
        use: source.persistent_volume_claim
        for use, source in sources.items()
        if source is not None and source.persistent_volume_claim is not None
    }


def find_token(spec: CustomizationJobSpec) -> common.SecretKeyReference | None:
    """Returns the one Hugging Face token that the sources name."""
    sources = (spec.model, spec.teacher, spec.dataset.training, spec.dataset.validation)
    hubs = (source.hugging_face for source in sources if source is not None)
    return next((hub.token_secret_ref for hub in hubs if hub is not None and hub.token_secret_ref is not None), None)


def build_job_file(job: CustomizationJob) -> Job:
    """Returns what the trainer is told. The same job gives the same file, byte by byte."""
    spec, metadata = job.spec, job.metadata
    validation = spec.dataset.validation
    file = Job(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        spec_hash="",
        device=spec.compute.device,
        model=_translate_model(spec.model, "model"),
        teacher=None if spec.teacher is None else _translate_model(spec.teacher, "teacher"),
        dataset=DatasetInput(
            training=translate_source(spec.dataset.training, "training"),
            validation=None if validation is None else translate_source(validation, "validation"),
            prompt_template=spec.dataset.prompt_template,
        ),
        automodel=None if spec.automodel is None else spec.automodel.without_teacher(),
        unsloth=spec.unsloth,
        gpu_memory_bytes=None if spec.compute.gpu_memory is None else count_bytes(spec.compute.gpu_memory),
        checkpoints=spec.checkpoints,
        integrations=None if spec.integrations is None else spec.integrations.without_secrets(),
        storage=translate_storage(spec.object_storage),
        artifact_name=spec.output.name or metadata.name,
        artifact_uri=spec.output.s3.uri,
    )
    return file.model_copy(update={"spec_hash": file.digest()})


def build_config_map(job: CustomizationJob) -> Object:
    """Builds the ConfigMap that every pod of the job mounts."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": config_map_name(job.metadata.name),
            "namespace": job.metadata.namespace,
            "labels": build_job_labels(job.metadata.name, "job-file"),
            "ownerReferences": [build_owner("CustomizationJob", job.metadata)],
        },
        "immutable": True,
        "data": {FILE: build_job_file(job).to_json()},
    }
