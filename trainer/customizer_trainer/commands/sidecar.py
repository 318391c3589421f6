"""`sidecar`: runs beside a server as long as that does, and keeps its adapters as the operator wishes them."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from pydantic import ValidationError

from customizer_contract.adapters import AdapterInput, SidecarReport, Wish
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.paths import MODEL_STORE, SERVED_ADAPTERS, SERVED_MODEL
from customizer_contract.result import Result
from customizer_contract.serving import API_KEY, LoraServer, Serving, SidecarInput
from customizer_trainer.serving.artifacts import Artifact, read_artifact
from customizer_trainer.serving.compatibility import check_layers, check_manifest, check_settings
from customizer_trainer.serving.engines import CallEngine, FolderEngine
from customizer_trainer.serving.evaluator import Evaluator, evaluate
from customizer_trainer.serving.live_adapters import LiveAdapters
from customizer_trainer.serving.prober import Prober
from customizer_trainer.serving.report_server import ReportServer
from customizer_trainer.storage.digest import model_digest
from customizer_trainer.storage.s3 import S3

_PAUSE_SECONDS = 0.5
_REST_SECONDS = 3.0
"""Between two looks at a server that has all that is wished."""


def run(serving: Serving, store: Path, wish_file: Path, port: int) -> Result:
    """Works until it is told to stop."""
    if serving.sidecar is None:
        raise CustomizerError(Reason.JOB_FILE_INVALID, "The serving file names no server.", field="sidecar")
    if os.environ.get(API_KEY) == "":
        # The engine takes it for none.
        message = "The Secret of runtime.apiKeySecretRef holds an empty key, with which the server answers everybody."
        raise CustomizerError(Reason.ACCESS_DENIED, message, field="runtime.apiKeySecretRef")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    prober = Prober(serving.sidecar.port, time.monotonic)
    find = partial(find_tokenizer, store)
    evaluator = Evaluator(partial(evaluate, serving.sidecar.port, S3(serving.storage), find), time.monotonic)
    adapters = build_adapters(serving, serving.sidecar, store)
    sidecar = Sidecar(adapters, prober, evaluator)
    server = ReportServer(port)
    before, looked = None, 0.0
    while not stop.wait(_PAUSE_SECONDS):
        wish = read_wish(wish_file)
        if wish == before and sidecar.is_at_rest and time.monotonic() - looked < _REST_SECONDS:
            continue
        before, looked = wish, time.monotonic()
        sidecar.step(wish, server)
    sidecar.close()
    server.close()
    return Result(command="sidecar")


@dataclass(slots=True)
class Sidecar:
    """What is done beside one server: its adapters, its probe and its held-out questions."""

    adapters: LiveAdapters
    prober: Prober
    evaluator: Evaluator

    @property
    def is_at_rest(self) -> bool:
        """Whether there is nothing to do before the wish or the server changes."""
        return self.adapters.is_at_rest and self.prober.is_at_rest and self.evaluator.is_at_rest

    def step(self, wish: Wish | None, shown: ReportServer) -> None:
        """Brings the server nearer to the wish without waiting for anything, and shows how it stands."""
        if wish is None:
            # The operator has not been here yet: it is not known what this server should answer to.
            shown.show(SidecarReport(wish=""), is_ready=False)
            return
        adapters, prober = self.adapters, self.prober
        report = adapters.step(wish)
        found = prober.step(wish.probe, adapters.state, may_ask=adapters.is_settled)
        evaluated = self.evaluator.step(wish.evaluation, may_ask=adapters.is_settled and prober.has_passed)
        told = report.model_copy(update={"probe": found, "evaluation": evaluated})
        # A pod that was ready stays so while it gets more adapters: its requests for all the others go on.
        shown.show(told, is_ready=adapters.is_ready and prober.has_passed)

    def close(self) -> None:
        """Lets what is under way go."""
        self.evaluator.close()
        self.adapters.close()


def build_adapters(serving: Serving, server: SidecarInput, store: Path) -> LiveAdapters:
    """Builds what keeps the adapters of the server."""
    s3 = S3(serving.storage)
    model = store / SERVED_MODEL.relative_to(MODEL_STORE)
    staged = store / SERVED_ADAPTERS.relative_to(MODEL_STORE)
    fixed = frozenset([server.staged] if server.staged else [])
    lora = server.lora or LoraServer(loading="Folder", max_rank=0)
    lock = threading.Lock()
    engine = (CallEngine if lora.loading == "Call" else FolderEngine)(server.port, store, fixed)
    staged.mkdir(parents=True, exist_ok=True)

    @cache
    def compute_digest() -> str:
        return model_digest(model)

    def base_digest() -> str:
        # Reading a large model takes a while; once is enough.
        with lock:
            return compute_digest()

    def find(wanted: AdapterInput) -> Artifact:
        artifact = read_artifact(wanted.artifact, s3)
        check_manifest(artifact.manifest, lora)
        base = artifact.manifest.base_model
        if not lora.base_in_image and base.digest != base_digest():
            raise CustomizerError(
                Reason.ADAPTER_INCOMPATIBLE,
                f"It was trained on {base.uri} with digest {base.digest}, and the served model has {base_digest()}.",
            )
        return artifact

    def bring(artifact: Artifact, folder: Path) -> None:
        s3.download_files(artifact.uri, artifact.manifest.served_files, folder, missing=Reason.ARTIFACT_INVALID)
        check_settings(folder)
        if not lora.base_in_image:
            check_layers(folder, model, lora)

    return LiveAdapters(engine, find, bring, time.monotonic)


def find_tokenizer(store: Path, name: str) -> Path:
    """Returns the folder with the tokenizer of the full weights that were staged. Raises TokenizerInvalid."""
    folder = store / SERVED_MODEL.relative_to(MODEL_STORE)
    if any((folder / file).is_file() for file in ("tokenizer_config.json", "tokenizer.json")):
        return folder
    message = f"The loss cannot be computed: no tokenizer was staged for {name}; its server brings it by itself."
    raise CustomizerError(Reason.TOKENIZER_INVALID, message)


def read_wish(path: Path) -> Wish | None:
    """Reads the wish; None before the first. Raises JobFileInvalid."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        return Wish.model_validate_json(text) if text else None
    except ValidationError as error:
        message = f"{path}: {error.errors()[0]['msg']}."
        raise CustomizerError(Reason.JOB_FILE_INVALID, message, file=str(path)) from error
