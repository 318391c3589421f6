"""The peer of `lives`: a script that makes by hand what the operator makes, and keeps no promise about it.

No status, no retry, no memory: ConfigMap and preflight at once, the PyTorchJob when the pod of preflight has ended.
It makes one job after the other when it is told their names, a line each.
"""

import json
import ssl
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from customizer_operator.api.base import JOB_LABEL, Object
from customizer_operator.api.customization_job import CustomizationJob
from customizer_operator.apiserver import path_of
from customizer_operator.objects.images import Images
from customizer_operator.objects.job_file import build_config_map
from customizer_operator.objects.preflight import build_preflight
from customizer_operator.objects.training import build_training
from customizer_operator.plan.plan import POD, find_resource
from tests.support import samples

_HANDS = 4
"""As many as the operator has."""
_IMAGES = Images(io="io:1", automodel="automodel:1", unsloth="unsloth:1")


class Client:
    """Makes the objects of jobs in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self._host = urlsplit(cluster["server"]).netloc
        self._trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        self._namespace = namespace
        self._own = threading.local()
        self._hands = ThreadPoolExecutor(_HANDS)

    def run(self) -> None:
        """Makes jobs until it is told no more names."""
        threading.Thread(target=self._watch, daemon=True).start()
        print("ready", flush=True)
        for line in sys.stdin:
            self._hands.submit(self._begin, line.strip())

    def _begin(self, name: str) -> None:
        job = self._parse(name)
        self._create(build_config_map(job))
        self._create(build_preflight(job, _IMAGES))

    def _watch(self) -> None:
        """Goes on with the jobs whose preflight has passed."""
        path = f"{path_of(POD, self._namespace)}?watch=true&labelSelector=app.kubernetes.io/component=preflight"
        connection = HTTPSConnection(self._host, context=self._trust)
        connection.request("GET", path, headers=self._headers)
        for line in connection.getresponse():
            pod: Any = json.loads(line)["object"]
            if pod["status"].get("phase") == "Succeeded":
                self._hands.submit(self._train, pod["metadata"]["labels"][JOB_LABEL])

    def _train(self, name: str) -> None:
        self._create(build_training(self._parse(name), _IMAGES, 1))

    def _parse(self, name: str) -> CustomizationJob:
        item = samples.job(name)
        metadata = {**item["metadata"], "namespace": self._namespace, "uid": f"uid-{name}"}
        return CustomizationJob.model_validate({"metadata": metadata, "spec": item["spec"]})

    def _create(self, item: Object) -> None:
        # There is no object that it could belong to.
        item = {**item, "metadata": {**item["metadata"], "ownerReferences": []}}
        if not hasattr(self._own, "connection"):
            self._own.connection = HTTPSConnection(self._host, context=self._trust)
        connection: HTTPSConnection = self._own.connection
        headers = {**self._headers, "Content-Type": "application/json"}
        connection.request("POST", path_of(find_resource(item), self._namespace), json.dumps(item), headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            print(answer.decode(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    Client(Path(sys.argv[1]), sys.argv[2]).run()
