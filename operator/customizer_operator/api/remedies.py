"""What to do about each reason of a condition that tells of trouble; those of the error catalogue stand there.

A condition's message says the same with names in it.
"""

from collections.abc import Mapping

from customizer_operator.api.reasons import ConditionReason as Job
from customizer_operator.api.serving_reasons import ServingReason as Serving

_RELEASES = "Apply the CRDs of the operator's own release."
_GOES_ON = "the job goes on by itself"

JOB_REMEDIES: Mapping[Job, str] = {
    Job.INVALID_SPEC: _RELEASES,
    Job.MAX_ATTEMPTS_REACHED: (
        "Read in status.attempts why each of them failed; raise failurePolicy.maxAttempts only if the cause is gone."
    ),
    Job.DEADLINE_EXCEEDED: "Raise activeDeadlineSeconds, or ask for less; then apply the job under another name.",
    Job.QUEUED: "Nothing: it starts when its turn comes; or ask for less, or have the quota raised.",
    Job.QUEUE_MISSING: f"Create the LocalQueue, install Kueue, or correct scheduling.queue; {_GOES_ON}.",
    Job.QUEUE_CLOSED: f"Have the queue corrected; {_GOES_ON}.",
    Job.QUEUE_INTEGRATION_OFF: (
        "Add kubeflow.org/pytorchjob to integrations.frameworks in Kueue's configuration, and check that it manages"
        f" the namespace; {_GOES_ON}."
    ),
    Job.UNSCHEDULABLE: "Pods start when there is room; or ask for less, or correct nodeSelector and tolerations.",
    Job.SECRET_MISSING: f"Create the Secret or its key, or correct the reference in the spec; {_GOES_ON}.",
    Job.CONFIG_MAP_MISSING: "Nothing: the operator makes it anew.",
    Job.VOLUME_CLAIM_MISSING: f"Create the claim, or correct its name in the spec; {_GOES_ON}.",
    Job.VOLUME_UNAVAILABLE: ("Have the claim, its volume or the storage class corrected; the pod goes on by itself."),
    Job.IMAGE_UNAVAILABLE: "Correct the image, or name an imagePullSecrets entry.",
    Job.CONTAINER_REFUSED: "Correct what it names; if that is nothing of the spec, have the node looked at.",
    Job.POD_REFUSED: "Ask for less, or have the quota or policy changed.",
    Job.QUOTA_EXCEEDED: "Pods are made when others end; or have the ResourceQuota raised.",
    Job.POD_SECURITY_REFUSED: "Ours keep to the restricted standard: look for a webhook that changes them.",
    Job.REFUSED: "Correct the spec, or have the quota or policy changed.",
    Job.SERVICE_ACCOUNT_MISSING: f"Create it, or correct objectStorage.serviceAccountName; {_GOES_ON}.",
    Job.TRAINING_OPERATOR_MISSING: (
        f"Install Kubeflow's training-operator (v1.9), or check that it runs and may see the namespace; {_GOES_ON}."
    ),
    Job.NAME_TAKEN: (
        "Delete that object, or name the job otherwise. One that is left from a deleted job goes by itself."
    ),
}
"""Of a CustomizationJob."""

SERVING_REMEDIES: Mapping[Serving, str] = {
    Serving.INVALID_SPEC: _RELEASES,
    Serving.JOB_NOT_FOUND: "Create the job, or correct the name.",
    Serving.JOB_NOT_COMPLETE: "Nothing: it goes on when the job has published.",
    Serving.JOB_FAILED: "Create the job anew, corrected, under the same name; or name another.",
    Serving.MANIFEST_NOT_FOUND: "Correct manifestDigest, or name what is in S3 in spec.model.artifact.",
    Serving.IMAGE_NOT_NAMED: "Name one in runtime.image, or in the operator's settings.",
    Serving.NOT_TAKEN_BY_IMAGE: "Change the setting that the message names, or choose another image or runtime.",
    Serving.NOT_TAKEN_BY_BACKEND: "Use backend Deployment, or what the message names.",
    Serving.NIM_SERVICE_FAILED: "Correct what NVIDIA's operator says, which the message has.",
    Serving.NIM_OPERATOR_MISSING: "Check that NVIDIA's NIM operator runs and may see the namespace.",
    Serving.RESOURCE_UNKNOWN: "Install what brings the kind, or remove the setting that asks for it.",
    Serving.SERVER_CRASHING: "Read the log of the server's container.",
    Serving.LICENCE_MISSING: "Name a Secret that holds a valid key of NGC in runtime.ngcSecretRef.",
    Serving.PROFILE_UNKNOWN: (
        "Correct or remove runtime.profile, or choose nodes whose GPUs it is made for by spec.nodeSelector."
    ),
    Serving.MODEL_NOT_LISTED: "Nothing, if it goes on; else read the server's log.",
    Serving.NO_REPLICA_ANSWERS: "Nothing, if it goes on; else see what the condition Progressing or Stalled says.",
    Serving.SOME_REPLICAS_ANSWER: "Nothing, if it goes on; else see what the condition Progressing or Stalled says.",
    Serving.PROBE_FAILED: "Correct the probe, or serve another artifact.",
    Serving.ADAPTER_NAME_TAKEN: "Give the adapter another name.",
    Serving.ANOTHER_STORE: "Name a store that holds both in objectStorage.",
    Serving.SCORE_TOO_LOW: "Serve another artifact, or change the bound or the evaluation.",
    Serving.WORSE_THAN_PREVIOUS: "Serve another artifact, or set rollout.compareWith to None.",
    Serving.CANARY_PROBE_FAILED: "Serve another artifact, or correct the probe.",
    Serving.PREVIOUS_NOT_ASKED: (
        "Set rollout.compareWith to None, or serve the served version's model once more before another one."
    ),
    Serving.NO_LOSS_OF_ADAPTERS: "Choose evaluation.metric ExactMatch or Contains, or serve a merged model.",
    Serving.DATASET_CHANGED: (
        "Leave the data as they are for the time of a roll-out. Any change of spec.evaluation asks both anew."
    ),
}
"""Of a ModelDeployment."""
