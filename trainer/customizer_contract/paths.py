"""Where things are inside the pods. The operator mounts them, the trainer uses them."""

from pathlib import PurePosixPath

JOB_FILE = PurePosixPath("/etc/customizer/job.json")
"""The job file, from the ConfigMap of the job's name."""

WORKSPACE = PurePosixPath("/workspace")
"""Writable disk of a pod: model, data, checkpoints, output. An emptyDir, or what compute.workspace asks for."""

VOLUMES = PurePosixPath("/volumes")
"""Claims named by a source are mounted read-only below it: `/volumes/model`, `/volumes/training`, ..."""

TERMINATION_MESSAGE = PurePosixPath("/dev/termination-log")

MODEL_STORE = PurePosixPath("/model-store")
"""Where a server finds the weights that were staged for it."""

SERVING_FILE = PurePosixPath("/etc/customizer/serving.json")
"""The serving file, from an annotation of the pod."""

SERVING_VARIABLE = "CUSTOMIZER_SERVING"
"""Holds the serving file where no volume can be mounted: in the pods that NVIDIA's operator makes."""

CHAT_TEMPLATE = PurePosixPath("/etc/customizer-template/chat_template.jinja")
"""The chat template of a server, from an annotation of the pod."""

MODEL_CACHE = PurePosixPath("/model-cache")
"""Weights that servers share, one folder for each model; a claim, where the deployment names one."""

SERVED_MODEL = MODEL_STORE / "model"
"""Full weights: the fine-tuned model, or the base model of the adapters."""

SERVED_ADAPTERS = MODEL_STORE / "adapters"
"""One folder an adapter, named as the adapter is served."""

WISH_FILE = SERVING_FILE.with_name("adapters.json")
"""The wish for adapters, from an annotation that the operator changes while the pod runs; empty before the first."""

LIVE_ADAPTERS = MODEL_STORE / "live"
"""Adapters that come and go by call: one folder each, `<name>@<sha256 of its manifest>`."""

STAGING = MODEL_STORE / ".staging"
"""Adapters on their way, on the disk that they will be served from."""
