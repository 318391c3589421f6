"""The artifact: files first, the manifest last, and nothing of another job ever overwritten."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import ValidationError

from customizer_contract.artifact import (
    MANIFEST_FILE,
    AdapterReference,
    Alternate,
    BaseModelReference,
    File,
    JobReference,
    Manifest,
)
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job, ModelInput
from customizer_contract.result import ArtifactReference, DatasetFacts
from customizer_contract.sources import display
from customizer_trainer.checkpoints import Checkpoint
from customizer_trainer.storage.digest import model_digest
from customizer_trainer.storage.store import Store, join


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint in the form in which it is published, on this disk."""

    checkpoint: Checkpoint
    path: str
    """Its folder within the artifact; `.` of the result itself."""
    adapter: AdapterReference | None
    loss: float | None
    """On validation rows, loaded again; None if it was too large for that."""
    damaged: list[Checkpoint] = field(default_factory=list)
    """Checkpoints that would have been taken before this one, if they were whole."""

    @property
    def metrics(self) -> dict[str, float]:
        """Its losses, by name."""
        losses = {
            "train_loss": self.checkpoint.train_loss,
            "validation_loss": self.checkpoint.validation_loss,
            "validation_answer_loss": self.checkpoint.validation_answer_loss,
            "reloaded_loss": self.loss,
        }
        return {name: loss for name, loss in losses.items() if loss is not None}


_NOT_RELOADED = "The result was too large to be loaded again on its pod before it was published."


def describe_doubts(made: Sequence[Made]) -> list[str]:
    """Names what a user should know of what was published."""
    doubts = [
        f"Checkpoint {damaged.name} is damaged: {each.checkpoint.name} was published in its place."
        for each in made
        for damaged in each.damaged
    ]
    return [*doubts, _NOT_RELOADED] if any(each.loss is None for each in made) else doubts


def build_manifest(
    job: Job,
    *,
    files: list[File],
    model: Path,
    base: BaseModelReference,
    teacher: BaseModelReference | None,
    made: Sequence[Made],
    dataset: DatasetFacts,
    packages: Mapping[str, str],
    now: datetime,
) -> Manifest:
    """Builds the manifest of a job's artifact: the first that was made, and the others beside it.

    `model` is the folder of the base.
    """
    result, *alternates = made
    return Manifest(
        name=job.artifact_name,
        type="adapter" if result.adapter else "model",
        files=sorted(files, key=lambda file: file.path),
        base_model=base,
        teacher=teacher,
        adapter=result.adapter,
        prompt_format="chat" if dataset.format == "chat" else "completion",
        prompt_template=job.dataset.prompt_template,
        chat_template_digest=digest_template(model),
        dataset_digest=dataset.digest,
        job=JobReference(name=job.name, namespace=job.namespace, uid=job.uid, spec_hash=job.spec_hash),
        step=result.checkpoint.step,
        checkpoint=result.checkpoint.name,
        metrics=result.metrics,
        alternates=[
            Alternate(path=each.path, step=each.checkpoint.step, checkpoint=each.checkpoint.name, metrics=each.metrics)
            for each in alternates
        ],
        packages=dict(packages),
        created_at=now,
    )


def refer_to_model(model: ModelInput, folder: Path) -> BaseModelReference:
    """Names a model whose files are in `folder`."""
    return BaseModelReference(uri=display(model.source), digest=model_digest(folder), revision=find_revision(folder))


def digest_template(model: Path) -> str | None:
    """Returns the sha256 of a model's chat template, None if it has none."""
    template, settings = model / "chat_template.jinja", model / "tokenizer_config.json"
    if template.is_file():
        return hashlib.sha256(template.read_bytes()).hexdigest()
    found = json.loads(settings.read_text()).get("chat_template") if settings.is_file() else None
    if not found:
        return None
    text = found if isinstance(found, str) else json.dumps(found, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def find_revision(model: Path) -> str | None:
    """Returns the commit of a model that was downloaded from the hub, as its library notes it beside the files."""
    note = model / ".cache" / "huggingface" / "download" / "config.json.metadata"
    return note.read_text().partition("\n")[0].strip() or None if note.is_file() else None


def upload_files(job: Job, store: Store, folder: Path) -> list[File]:
    """Uploads the files of the artifact; without the manifest they are not yet one."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return store.upload(files, job.artifact_uri)


def publish_manifest(job: Job, store: Store, manifest: Manifest) -> ArtifactReference:
    """Writes the manifest, which makes the artifact; of two attempts at once, the first one counts.

    Raises OutputExists if another job was faster.
    """
    content = manifest.to_json().encode()
    if not store.put_if_absent(join(job.artifact_uri, MANIFEST_FILE), content):
        found = find_published(job, store)
        if found is None:
            raise CustomizerError(Reason.OUTPUT_EXISTS, f"{job.artifact_uri}: another job has published there.")
        return found
    return refer(job, content)


def find_published(job: Job, store: Store) -> ArtifactReference | None:
    """Returns the artifact if this very job has published it already, in an earlier attempt."""
    content = store.read(join(job.artifact_uri, MANIFEST_FILE))
    owner = None if content is None else find_owner(content)
    return refer(job, content) if content is not None and owner is not None and owner.uid == job.uid else None


def find_owner(manifest: bytes) -> JobReference | None:
    """Returns the job that has published this; None if it is no manifest at all."""
    try:
        return Manifest.model_validate_json(manifest).job
    except ValidationError:
        return None


def refer(job: Job, content: bytes) -> ArtifactReference:
    """Refers to a published artifact by the content of its manifest."""
    manifest = Manifest.model_validate_json(content)
    return ArtifactReference(
        uri=job.artifact_uri,
        name=manifest.name,
        manifest_digest=hashlib.sha256(content).hexdigest(),
        type=manifest.type,
        base_model=manifest.base_model.uri,
        size_bytes=sum(file.size_bytes for file in manifest.files),
        prompt_format=manifest.prompt_format,
        adapter=manifest.adapter,
    )


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the versions of those of the packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
