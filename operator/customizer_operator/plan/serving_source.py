"""The CustomizationJob that a ModelDeployment follows: which of several, and what outlives it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from customizer_contract.job import HELD_OUT_FILE
from customizer_contract.result import ArtifactReference
from customizer_operator.api.base import Object
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.api.model_deployment import FollowedJob, ModelDeployment
from customizer_operator.api.model_source import SourceStatus
from customizer_operator.api.reasons import ConditionType
from customizer_operator.api.serving_reasons import ServingReason
from customizer_operator.objects.job_file import build_job_file
from customizer_operator.plan.job_view import parse_status
from customizer_operator.plan.plan import CUSTOMIZATION_JOB, Observed
from customizer_operator.plan.serving_trouble import Trouble


@dataclass(frozen=True, slots=True)
class Published:
    """What a job has published, and what servers need of the job."""

    artifact: ArtifactReference
    source: SourceStatus


def is_meant(pattern: str, name: str) -> bool:
    """Tells whether a reference means an object of that name: one that ends in * means all that begin so."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def find_job(subject: Object) -> str | None:
    """Returns the name of the CustomizationJob that a ModelDeployment names."""
    model = subject.get("spec", {}).get("model") or {}
    return (model.get("customizationJobRef") or {}).get("name")


def find_jobs(observed: Observed) -> list[Object]:
    """Returns the CustomizationJobs that a ModelDeployment means."""
    pattern = find_job(observed.subject)
    jobs = [item for (resource, _), item in observed.referenced.items() if resource == CUSTOMIZATION_JOB]
    return [job for job in jobs if pattern is not None and is_meant(pattern, job["metadata"]["name"])]


def choose_job(jobs: Iterable[Object]) -> Object | None:
    """Returns the newest of the jobs that have published, or else the newest; None without any."""

    def rank(job: Object) -> tuple[bool, str, str]:
        metadata = job["metadata"]
        return _find_digest(job) is not None, metadata.get("creationTimestamp") or "", metadata["name"]

    return max(jobs, key=rank, default=None)


def find_published(deployment: ModelDeployment, reference: FollowedJob, jobs: Sequence[Object]) -> Published | Trouble:
    """Finds what is to be served; `jobs` are those that are meant.

    What is served stays when its job is gone, and jobs that were created before that one are not gone back to.
    """
    kept = _find_kept(deployment, reference)
    if reference.promotion == "Manual":
        digest = reference.manifest_digest or (kept.artifact.manifest_digest if kept else None)
        if digest is not None:
            return _find_pinned(digest, kept, reference, jobs)
    candidates = [job for job in jobs if kept is None or not _is_before(job, kept.source)]
    found = choose_job(candidates)
    if kept is not None and (found is None or _find_digest(found) is None):
        return kept
    return _read(reference, found)


def _find_kept(deployment: ModelDeployment, reference: FollowedJob) -> Published | None:
    status = deployment.status
    if status is None or status.artifact is None or status.source is None:
        return None
    return Published(status.artifact, status.source) if is_meant(reference.name, status.source.job) else None


def _find_pinned(
    digest: str, kept: Published | None, reference: FollowedJob, jobs: Sequence[Object]
) -> Published | Trouble:
    makers = [job for job in jobs if _find_digest(job) == digest]
    if makers:
        return _read(reference, choose_job(makers))
    if kept is not None and kept.artifact.manifest_digest == digest:
        return kept
    found = _read(reference, choose_job(jobs))
    if isinstance(found, Trouble):
        return found
    return Trouble(
        ServingReason.MANIFEST_NOT_FOUND,
        f"No CustomizationJob {reference.name} of this namespace has published manifest {digest[:12]}: correct "
        f"manifestDigest (CustomizationJob {found.source.job} has published {found.artifact.manifest_digest}), or name "
        "what is in S3 in spec.model.artifact.",
    )


def _read(reference: FollowedJob, found: Object | None) -> Published | Trouble:
    if found is None:
        return Trouble(
            ServingReason.JOB_NOT_FOUND,
            f"There is no CustomizationJob {reference.name} in this namespace: create it, or correct spec.model.",
        )
    name = found["metadata"]["name"]
    try:
        job = CustomizationJob.model_validate({"metadata": found["metadata"], "spec": found["spec"]})
    except ValidationError as error:
        return Trouble(
            ServingReason.INVALID_SPEC,
            f"CustomizationJob {name} is not one that this operator understands ({error.errors()[0]['msg']}): "
            "install operator and CRDs of the same release.",
        )
    status = parse_status(found)
    if status.artifact is not None:
        return Published(status.artifact, _describe(job))
    if any(c.type == ConditionType.FAILED and c.status == "True" for c in status.conditions or ()):
        return Trouble(
            ServingReason.JOB_FAILED,
            f"CustomizationJob {name} has failed: {status.message or 'it does not say why.'} "
            "Create it anew, corrected, under the same name; or name another.",
        )
    state = f", which is {status.state}" if status.state else ""
    return Trouble(ServingReason.JOB_NOT_COMPLETE, f"Waits for CustomizationJob {name}{state}.", stalled=False)


def _describe(job: CustomizationJob) -> SourceStatus:
    return SourceStatus(
        job=job.metadata.name,
        created_at=job.metadata.creation_timestamp,
        model=job.spec.model,
        object_storage=job.spec.object_storage,
        device=job.spec.compute.device,
        held_out_uri=f"{build_job_file(job).work_uri}/{HELD_OUT_FILE}",
        prompt_template=job.spec.dataset.prompt_template,
    )


def _is_before(job: Object, source: SourceStatus) -> bool:
    """Tells whether a job was created before the one that is served."""
    created, served = job["metadata"].get("creationTimestamp"), source.created_at
    if created is None or served is None or job["metadata"]["name"] == source.job:
        return False
    return datetime.fromisoformat(created) < served


def _find_digest(job: Object) -> str | None:
    """Returns the digest of the manifest that a job has published."""
    artifact = (job.get("status") or {}).get("artifact") or {}
    return artifact.get("manifestDigest")
