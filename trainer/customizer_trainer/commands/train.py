"""Trains this node's share of an attempt; node 0 publishes the artifact when all steps are done.

The pod of node 0 succeeds only once the artifact is published, the others once their parts are in S3: all pods have
succeeded means that it is published.
"""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from customizer_contract.artifact import ALTERNATES
from customizer_contract.errors import MISSED_ANOTHER, CustomizerError, Reason
from customizer_contract.job import Job
from customizer_contract.result import ArtifactReference, Result
from customizer_contract.sources import HuggingFaceSource, display
from customizer_contract.steps import count_steps
from customizer_trainer import logs
from customizer_trainer.backends.backend import Base, Inputs
from customizer_trainer.backends.choice import find_backend
from customizer_trainer.checkpoints import Checkpoint, CheckpointStore, bring_first, sort_by_age, sort_by_loss
from customizer_trainer.commands.fetch import Fetched, read_fetched
from customizer_trainer.model import checkpoint_dtype
from customizer_trainer.outcome import CommandFailedError, problem_of
from customizer_trainer.pinning import agree_on_start
from customizer_trainer.publishing import (
    Made,
    build_manifest,
    describe_doubts,
    find_published,
    installed_versions,
    publish_manifest,
    refer_to_model,
    upload_files,
)
from customizer_trainer.reloading import judge, reload
from customizer_trainer.storage.output import open_output
from customizer_trainer.storage.patience import patiently
from customizer_trainer.storage.store import Store
from customizer_trainer.tracking.tracker import Ending
from customizer_trainer.training.events import EventReader
from customizer_trainer.training.failures import classify
from customizer_trainer.training.launch import Place, Ranks, build_command, build_environment, cores_here, read_place
from customizer_trainer.training.state import Training
from customizer_trainer.training.supervise import Display, Supervisor, Viewer, stop_signal
from customizer_trainer.training.trackers import Trackers
from customizer_trainer.training.uploads import Uploader
from customizer_trainer.workspace import AttemptFolder, Workspace

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = {None: 1800.0, Reason.PREEMPTED: 600.0}
"""How long the last checkpoint may take to become complete: all steps done, or told to stop (if the pod is let)."""
_AFTER_FAILURE_SECONDS = 5.0
"""The same after a failure, when a node whose part is missing may be gone."""
_PAUSE_AFTER_PEER_SECONDS = 10.0
_TRACKERS_SECONDS = 60.0
"""How long trackers may take up what they were not told yet, when nothing presses."""
_TRACKERS_LAST_SECONDS = 5.0
"""The same after a failure, or when told to stop."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What this node's share of the attempt is made of."""

    job: Job
    number: int
    place: Place
    fetched: Fetched
    folder: AttemptFolder

    @property
    def resumed_from(self) -> int | None:
        return self.fetched.resume.checkpoint.step if self.fetched.resume else None

    @property
    def total_steps(self) -> int:
        dataset = self.fetched.dataset
        return count_steps(self.job.outline, dataset.training.samples, dataset.packed).total


def run(
    job: Job,
    workspace: Workspace,
    number: int,
    environment: Mapping[str, str],
    open_viewer: Callable[[Training], Viewer],
) -> Result:
    """Runs one attempt on this node; on node 0 a viewer shows it.

    Raises CommandFailedError with what was reached when it is not done.
    """
    output = open_output(job)
    published = patiently(lambda: find_published(job, output), "look for the artifact", threading.Event().wait)
    if published is not None:
        log.info("an earlier attempt has published %s", published.uri)
        return Result(command="train", artifact=published)
    outline = job.outline
    place = read_place(environment, outline.nodes, outline.processes)
    logs.bind(attempt=number, node=place.node)
    attempt = _Attempt(job, number, place, read_fetched(job, workspace), workspace.attempt(number))
    begin = Training.begin(number, attempt.total_steps, attempt.resumed_from, datetime.now(UTC))
    shown = Display(begin, open_viewer(begin) if place.node == 0 else None)
    store = CheckpointStore(output, job)
    uploader = Uploader(store, place.node, shown.checkpointed, job.checkpoints.keep)
    trackers = Trackers(job.integrations if place.node == 0 else None)
    artifact, doubts = None, list[str]()
    try:
        # Told to stop while it publishes, it goes on as long as it is let: the next attempt would do the same.
        with stop_signal() as stop:
            if outline.nodes > 1:
                start = attempt.fetched.resume.checkpoint if attempt.fetched.resume else None
                agree = partial(agree_on_start, output, job, number, place.node, start)
                patiently(agree, "agree on where to go on from", stop.wait)
            if place.node == 0:
                for damaged in attempt.fetched.damaged:
                    # It would count as newer than all that this attempt saves, and drive them out.
                    patiently(partial(store.forget, damaged), f"forget {damaged.name}", stop.wait)
            if (attempt.resumed_from or 0) < attempt.total_steps:
                _train(attempt, environment, uploader, shown, trackers, stop)
            if place.node == 0:
                shown.publishing()
                pause = threading.Event().wait
                made = patiently(lambda: _assemble(attempt, store, uploader), "put the result together", pause)
                doubts = describe_doubts(made)
                artifact = patiently(lambda: _publish(attempt, output, made), "publish", pause)
    except (CustomizerError, OSError) as failure:
        error = _name(failure)
        ending: Ending = "KILLED" if error.reason is Reason.PREEMPTED else "FAILED"
        warnings = trackers.finish(ending, _TRACKERS_LAST_SECONDS)
        raise CommandFailedError(
            Result(command="train", error=problem_of(error), training=shown.training.facts(), warnings=warnings)
        ) from error
    finally:
        shown.close()
    warnings = [*doubts, *trackers.finish("FINISHED", _TRACKERS_SECONDS)]
    return Result(command="train", training=shown.training.facts(), artifact=artifact, warnings=warnings)


def _name(failure: CustomizerError | OSError) -> CustomizerError:
    """Returns the failure as one of the catalogue: a disk that is full, say, has a reason, too."""
    if isinstance(failure, CustomizerError):
        return failure
    log.error("the disk or the network failed", exc_info=failure)
    return CustomizerError(*classify(failure))


def _train(
    attempt: _Attempt,
    environment: Mapping[str, str],
    uploader: Uploader,
    shown: Display,
    trackers: Trackers,
    stop: threading.Event,
) -> None:
    folder, place = attempt.folder, attempt.place
    shutil.rmtree(folder.root, ignore_errors=True)
    for made in (folder.events, folder.output):
        made.mkdir(parents=True)
    folder.recipe.write_text(json.dumps(_build_recipe(attempt), indent=2))
    worker = find_backend(attempt.job).worker
    arguments = [str(folder.recipe), str(folder.events), attempt.job.device]
    command = build_command(place, worker, arguments, folder.output)
    supervisor = Supervisor(place, attempt.number, EventReader(folder.events), uploader, shown)
    trackers.start(attempt.job, folder.events, folder.trackers, environment)
    ranks = Ranks(command, build_environment(environment, place, cores_here()))
    try:
        error = supervisor.watch(ranks, stop)
    finally:
        ranks.kill()
    if error is not None and error.reason in MISSED_ANOTHER:
        # Whoever failed first shall be heard first.
        stop.wait(_PAUSE_AFTER_PEER_SECONDS)
    patience = _PATIENCE_SECONDS.get(error.reason if error else None, _AFTER_FAILURE_SECONDS)
    complete = uploader.finish(patience, peers_may_be_gone=error is not None)
    if error is not None and error.reason is Reason.PREEMPTED and not complete:
        raise CustomizerError(Reason.PREEMPTED, f"{error} Its checkpoint did not become complete in time.") from error
    if error is not None:
        raise error
    if not complete:
        raise uploader.error or CustomizerError(Reason.STORAGE_UNAVAILABLE, "The last checkpoint was not uploaded.")


def _build_recipe(attempt: _Attempt) -> dict[str, Any]:
    fetched = attempt.fetched
    return find_backend(attempt.job).build_recipe(
        attempt.job,
        Inputs(
            model=fetched.model,
            model_dtype=checkpoint_dtype(fetched.model),
            samples=fetched.samples,
            training_samples=fetched.dataset.training.samples,
            packing=fetched.dataset.packed,
            checkpoints=attempt.folder.checkpoints,
            resume=fetched.resume.folder if fetched.resume else None,
            teacher=fetched.teacher,
        ),
    )


def _assemble(attempt: _Attempt, store: CheckpointStore, uploader: Uploader) -> list[Made]:
    """Puts the result together, and what is published beside it."""
    folder, outline = attempt.folder, attempt.job.outline
    checkpoints = store.list_complete()
    by_age = sort_by_age(checkpoints)
    shutil.rmtree(folder.artifact, ignore_errors=True)
    chosen = by_age if outline.selection == "last" else sort_by_loss(checkpoints)
    made = [_make(attempt, store, uploader, chosen, folder.artifact)]
    if outline.selection == "both":
        made.append(_make(attempt, store, uploader, by_age, folder.artifact / ALTERNATES / "last"))
    return made


def _make(
    attempt: _Attempt, store: CheckpointStore, uploader: Uploader, candidates: Sequence[Checkpoint], target: Path
) -> Made:
    """Makes what is published of the first checkpoint that is whole."""
    job, folder, fetched = attempt.job, attempt.folder, attempt.fetched

    def bring(checkpoint: Checkpoint) -> Path:
        local = uploader.local_folder(checkpoint)
        if local is not None and (checkpoint.nodes == 1 or job.outline.adapts):
            return local
        # Other nodes hold parts of the weights; what of it lies here already is small beside that.
        return store.download(checkpoint, folder.root / "chosen", select=find_backend(job).published_from)

    damaged: list[Checkpoint] = []
    found = bring_first(candidates, bring, damaged.append)
    if found is None:
        raise CustomizerError(Reason.CRASHED, f"No complete checkpoint below {job.work_uri}.")
    chosen, local = found
    base = Base(fetched.model, _base_name(job))
    adapter = find_backend(job).assemble(job, local, base, target)
    reloaded = reload(job, target, fetched.model if adapter else None, fetched.samples, folder.root / "reloaded.json")
    loss = None
    if reloaded.skipped is not None:
        log.warning("the result was not loaded again: %s", reloaded.skipped)
    else:
        # A teacher's part of the loss cannot be computed without it.
        expected = chosen.validation_loss if job.teacher is None else chosen.validation_answer_loss
        loss = judge(reloaded, expected, quantized=_is_quantized(job))
    return Made(chosen, target.relative_to(folder.artifact).as_posix(), adapter, loss, damaged)


def _publish(attempt: _Attempt, output: Store, made: Sequence[Made]) -> ArtifactReference:
    job, folder, fetched = attempt.job, attempt.folder, attempt.fetched
    manifest = build_manifest(
        job,
        files=upload_files(job, output, folder.artifact),
        model=fetched.model,
        base=refer_to_model(job.model, fetched.model),
        teacher=refer_to_model(job.teacher, fetched.teacher) if job.teacher and fetched.teacher else None,
        made=made,
        dataset=fetched.dataset,
        packages=installed_versions(find_backend(job).packages),
        now=datetime.now(UTC),
    )
    reference = publish_manifest(job, output, manifest)
    log.info("published %s: the checkpoint of step %d", reference.uri, made[0].checkpoint.step)
    return reference


def _is_quantized(job: Job) -> bool:
    model = None if job.unsloth is None else job.unsloth.model
    return model is not None and (model.load_in_4bit or model.load_in_8bit)


def _base_name(job: Job) -> str:
    source = job.model.source
    return source.repo if isinstance(source, HuggingFaceSource) else display(source)
