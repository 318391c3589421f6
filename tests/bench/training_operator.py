"""The real training-operator as a process beside the apiserver. Its webhook is left out: the objects are right."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.api.control_plane import ADMIN_TOKEN, ControlPlane
from tests.bench.certificates import mount_certificates
from tests.cluster.builds import TRAINING_OPERATOR, build_upstream

REQUESTS_PER_SECOND = 200
"""What the local cluster gives it; by default it asks 20 times a second, and hundreds of jobs wait for that."""
_CERTIFICATES = Path("/tmp/k8s-webhook-server/serving-certs")
"""It knows no other place."""
_NAMESPACE, _SECRET = "kubeflow", "training-operator-webhook-cert"
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@contextmanager
def start_training_operator(plane: ControlPlane) -> Iterator[int]:
    """Starts it; yields its pid."""
    plane.kubectl("create", "namespace", _NAMESPACE)
    plane.kubectl("create", "secret", "generic", _SECRET, f"--namespace={_NAMESPACE}")
    plane.call("POST", _WEBHOOKS, {"metadata": {"name": "validator.training-operator.kubeflow.org"}, "webhooks": []})
    _CERTIFICATES.mkdir(parents=True, exist_ok=True)
    process = plane.start(
        "training-operator",
        f"--kubeconfig={plane.write_kubeconfig(plane.folder / 'training-operator.kubeconfig', ADMIN_TOKEN)}",
        "--enable-scheme=pytorchjob",
        f"--kube-api-qps={REQUESTS_PER_SECOND}",
        "--metrics-bind-address=0",
        "--health-probe-bind-address=0",
        "--webhook-server-port=19444",
        folder=build_upstream(TRAINING_OPERATOR),
    )
    try:
        mount_certificates(plane, _NAMESPACE, _SECRET, _CERTIFICATES)
        yield process
    finally:
        shutil.rmtree(_CERTIFICATES.parent)
