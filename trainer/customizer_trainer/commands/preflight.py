"""Checks model, data and output before a GPU is held, and reports what was found."""

import logging
from functools import partial
from pathlib import Path

from customizer_contract.artifact import MANIFEST_FILE
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import HELD_OUT_FILE, PREFLIGHT_FILE, Job, ModelInput
from customizer_contract.packing import PackedTraining
from customizer_contract.result import ModelFacts, Result
from customizer_contract.steps import count_steps, count_warmup
from customizer_trainer.backends.choice import find_backend
from customizer_trainer.checkpoints import CheckpointStore
from customizer_trainer.datasets.held_out import render_held_out
from customizer_trainer.datasets.page import render_page
from customizer_trainer.datasets.problems import InvalidRecordsError
from customizer_trainer.datasets.report import Report, build_report
from customizer_trainer.inputs import fetch_job_data, measure_fetched, prepare_job_data
from customizer_trainer.lora_checks import check_lora_layers
from customizer_trainer.model import (
    ModelConfig,
    check_weight_files,
    is_known_to_transformers,
    read_config,
    read_document,
    read_tensor_files,
)
from customizer_trainer.model_checks import check_architecture, check_memory, check_model, check_rope
from customizer_trainer.publishing import find_owner
from customizer_trainer.storage.model_files import select_weights
from customizer_trainer.storage.output import open_output
from customizer_trainer.storage.s3 import S3
from customizer_trainer.storage.sources import fetch_model_settings, list_model
from customizer_trainer.storage.store import Store, join
from customizer_trainer.teacher_checks import check_teacher, check_vocabularies, read_vocabulary
from customizer_trainer.workspace import Workspace

log = logging.getLogger(__name__)

PAGE_FILE = "preflight.html"


def run(job: Job, workspace: Workspace) -> Result:
    """Checks everything that needs no GPU. Raises CustomizerError with the first thing that is wrong."""
    s3, output = S3(job.storage), open_output(job)
    present = output.find_any(job.artifact_uri, missing=Reason.OUTPUT_NOT_FOUND)
    manifest = output.read(join(job.artifact_uri, MANIFEST_FILE))
    check_output(job, present, manifest, trained=bool(CheckpointStore(output, job).list_complete()))
    settings = fetch_model_settings(job.model, s3, workspace.model)
    files = list_model(job.model, s3)
    tensors = read_tensor_files(settings, files)
    # Of a volume, the weights are here, too.
    check_weight_files(settings)
    config = read_config(settings)
    check_model(job, config, select_weights(files))
    check_lora_layers(job, config, tensors)
    check_rope(job, read_document(settings))
    check_architecture(job.model, config, partial(_knows, job))
    teacher = None if job.teacher is None else _check_teacher(job, job.teacher, settings, s3, workspace.teacher)
    teacher_config = None if teacher is None else read_config(teacher)
    fetched = [files] if job.teacher is None else [files, list_model(job.teacher, s3)]
    facts = describe_model(config, sum(size for each in fetched for size in each.values()), teacher_config)
    report_uri = join(job.work_uri, PREFLIGHT_FILE)
    data = fetch_job_data(job, s3, workspace)
    try:
        prepared = prepare_job_data(job, data, settings, workspace.samples, teacher=teacher, with_tokens=False)
    except InvalidRecordsError as error:
        report = Report(model=facts, problems=error.problems.first, problem_counts=dict(error.problems.counts))
        put_report(job, output, report)
        raise error.with_report(report_uri) from None
    update = {"report_uri": report_uri, "size_bytes": measure_fetched(data, workspace)}
    dataset = prepared.facts.model_copy(update=update)
    check_memory(job, config, dataset, teacher_config)
    warnings = [
        *prepared.warnings,
        *warn_of_schedule(job, dataset.training.samples, dataset.packed),
        *find_backend(job).warn_of_device(job),
        *find_backend(job).warn_of_serving(job),
    ]
    put_report(job, output, build_report(prepared, dataset, facts, warnings))
    output.put(join(job.work_uri, HELD_OUT_FILE), render_held_out(data, prepared, job.dataset.prompt_template))
    return Result(command="preflight", dataset=dataset, model=facts, warnings=warnings)


def _check_teacher(job: Job, teacher: ModelInput, model: Path, s3: S3, folder: Path) -> Path:
    """Brings configuration and tokenizer of the teacher, and checks them against the model's; returns their folder."""
    settings = fetch_model_settings(teacher, s3, folder)
    read_tensor_files(settings, list_model(teacher, s3))
    config = read_config(settings)
    check_architecture(teacher, config, partial(_knows, job), field="automodel.training.teacherModel")
    check_teacher(job, read_config(model), config)
    check_vocabularies(
        read_vocabulary(model, trust_remote_code=job.model.trust_remote_code),
        read_vocabulary(settings, trust_remote_code=teacher.trust_remote_code),
    )
    return settings


def _knows(job: Job, architecture: str) -> bool:
    return architecture in find_backend(job).own_architectures or is_known_to_transformers(architecture)


def put_report(job: Job, output: Store, report: Report) -> None:
    """Stores the report, for programs and for people."""
    output.put(join(job.work_uri, PREFLIGHT_FILE), report.to_json().encode())
    page = render_page(report, f"Preflight of {job.namespace}/{job.name}")
    output.put(join(job.work_uri, PAGE_FILE), page.encode())


def describe_model(config: ModelConfig, size_bytes: int, teacher: ModelConfig | None = None) -> ModelFacts:
    """Returns what is told of a model, and of the one that it learns from."""
    return ModelFacts(
        architecture=config.architecture,
        parameters=config.shape.parameters if config.shape else None,
        context_length=config.context_length,
        dtype=config.dtype,
        size_bytes=size_bytes,
        shape=config.shape,
        teacher=teacher.shape if teacher else None,
    )


def check_output(job: Job, present: str | None, manifest: bytes | None, *, trained: bool = False) -> None:
    """Raises OutputExists if anything lies at the output's place that this job has not published itself.

    `present` is the address of some object there: publishing could overwrite it, were it a model of the same layout.
    `trained` tells whether this very job has a checkpoint. It began when the place was free, so that files without a
    manifest are what it had uploaded when it was killed.
    """
    if manifest is None and (present is None or trained):
        return
    if manifest is None:
        raise CustomizerError(Reason.OUTPUT_EXISTS, f"{present} lies there, and no manifest says whose it is.")
    owner = find_owner(manifest)
    if owner is None or owner.uid != job.uid:
        whose = f"{owner.namespace}/{owner.name} ({owner.uid})" if owner else "something else"
        raise CustomizerError(Reason.OUTPUT_EXISTS, f"{job.artifact_uri}: {whose} has published there.")


def warn_of_schedule(job: Job, training_samples: int, packing: PackedTraining | None = None) -> list[str]:
    """Names what the schedule will not do as written."""
    outline = job.outline
    steps = count_steps(outline, training_samples, packing)
    warnings = []
    asked = count_warmup(outline, steps.total)
    if steps.warmup < asked:
        warnings.append(f"A warm-up of {asked} steps does not fit into {steps.total} steps: {steps.warmup} are taken.")
    batch = outline.global_batch_size
    if training_samples < batch:
        warnings.append(f"{training_samples} training samples are less than a batch of {batch}: one step an epoch.")
    return warnings
