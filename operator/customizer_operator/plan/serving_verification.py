"""Whether what is to be served has been verified: by the `verify` Job of this very target, once."""

from dataclasses import dataclass

from customizer_contract.errors import Reason
from customizer_contract.result import ArtifactReference, BaseVersion, Problem
from customizer_contract.serving import Serving
from customizer_operator.api.base import Object
from customizer_operator.api.model_deployment import ModelDeploymentStatus
from customizer_operator.objects.serving_pods import VERIFY, file_digest, find_file
from customizer_operator.objects.verification import verify_name
from customizer_operator.plan.plan import JOB, Observed
from customizer_operator.plan.serving_pods import find_pods


@dataclass(frozen=True, slots=True)
class Verified:
    """It is what it should be."""

    artifact: ArtifactReference | None
    """None for a base model."""
    base: BaseVersion | None = None
    """The base model that is staged, if one is."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It must not be served. The Job goes away by itself after a while, and is then made anew."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Unknown:
    """The Job has to be made, or has not ended."""

    outdated: Object | None = None
    """A Job that verified something else and must go first."""


Verification = Verified | Refused | Unknown


def find_verification(observed: Observed, status: ModelDeploymentStatus | None, serving: Serving) -> Verification:
    """Finds the answer to a serving file, in the status or in the Job's last words."""
    if status is not None and status.verified_digest == file_digest(serving):
        # While a version is tried, the artifact that is served is another one.
        artifact = status.rollout.artifact if status.rollout is not None else status.artifact
        return Verified(artifact, status.verified_base)
    job = observed.named(JOB, verify_name(observed.subject["metadata"]["name"]))
    if job is None:
        return Unknown()
    if find_file(job) != serving.to_json():
        return Unknown(outdated=job)
    ended = {c["type"] for c in job.get("status", {}).get("conditions") or [] if c["status"] == "True"}
    if not ended & {"Complete", "Failed"}:
        return Unknown()
    ends = [end for pod in find_pods(observed, VERIFY) if pod.owner_uid == job["metadata"]["uid"] for end in pod.ends]
    results = [end.result for end in sorted(ends, key=lambda end: end.finished_at) if end.result is not None]
    if "Complete" in ended:
        # Its pod may be gone already, and its words with it: then it is asked again.
        return next(
            (Verified(result.artifact, result.base) for result in results if result.error is None),
            Unknown(outdated=job),
        )
    problem = next((result.error for result in reversed(results) if result.error is not None), None)
    if problem is None:
        problem = Problem(reason=Reason.CRASHED, message="The verify pod ended without saying why; read its log.")
    return Refused(problem)
