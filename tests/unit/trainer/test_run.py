"""What `run` makes of a job file: the same job, on this machine."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_contract.sources import LocalSource, S3Source
from customizer_trainer.__main__ import main
from customizer_trainer.commands.run import check_installed, on_this_machine
from tests.unit.trainer.conftest import build_job

FOLDER = Path("/jobs")


def instead(**paths: str) -> Namespace:
    names = ("model", "teacher", "training", "validation", "output", "workspace")
    return Namespace(**{name: Path(paths[name]) if name in paths else None for name in names})


def here(job: Job, **paths: str) -> Job:
    return on_this_machine(job, FOLDER, instead(**paths))


def data(**sources: Any) -> dict[str, Any]:
    return {name: {"kind": "local", "path": path} for name, path in sources.items()}


def test_all_processes_of_the_mesh_are_here() -> None:
    asked = build_job(automodel={"parallelism": {"numNodes": 3, "numGpusPerNode": 2, "tensorParallelSize": 2}})
    outline = here(asked).outline
    assert (outline.nodes, outline.processes, outline.tensor_parallel_size) == (1, 6, 2)


def test_without_other_paths_inputs_and_output_stay_as_they_are() -> None:
    job = here(build_job())
    assert (job.model, job.dataset, job.artifact_uri) == (
        build_job().model, build_job().dataset, build_job().artifact_uri
    )  # fmt: skip


def test_relative_paths_of_the_job_file_count_from_its_folder() -> None:
    job = here(build_job(model={"source": data(m="models/a")["m"]}, dataset=data(training="t.jsonl", validation="/v")))
    assert job.model.source == LocalSource(path=Path("/jobs/models/a"))
    assert job.dataset.training == LocalSource(path=Path("/jobs/t.jsonl"))
    assert job.dataset.validation == LocalSource(path=Path("/v"))


def test_paths_of_the_command_line_take_the_place_of_the_job_s() -> None:
    asked = build_job(dataset={**data(training="t"), "validation": {"kind": "s3", "uri": "s3://bucket/v"}})
    job = here(asked, model="/m", output="/out")
    assert (job.model.source, job.artifact_uri) == (LocalSource(path=Path("/m")), "file:///out")
    assert job.dataset.validation == S3Source(uri="s3://bucket/v")
    assert here(asked, training="/t").dataset.validation is None, "it belongs to the data that were replaced"
    assert here(asked, training="/t", validation="/v").dataset.validation == LocalSource(path=Path("/v"))
    assert here(asked, training="t").dataset.training == LocalSource(path=Path.cwd() / "t")


def test_a_teacher_may_be_here_too() -> None:
    block = {"training": {"trainingType": "distillation"}}
    teacher = {"source": data(teacher="t")["teacher"]}
    assert build_job(automodel=block, teacher=teacher).needs_this_machine
    assert here(build_job(automodel=block, teacher=teacher)).teacher.source == LocalSource(path=Path("/jobs/t"))
    asked = build_job(automodel=block, teacher={"source": {"kind": "s3", "uri": "s3://bucket/t"}})
    assert here(asked, teacher="/t").teacher.source == LocalSource(path=Path("/t"))


def test_a_changed_job_is_another_one_with_checkpoints_of_its_own() -> None:
    assert here(build_job()).work_uri == here(build_job(uid="1", name="other")).work_uri
    assert here(build_job()).work_uri != here(build_job(automodel={"schedule": {"epochs": 7}})).work_uri
    assert here(build_job()).work_uri != here(build_job(), training="/t").work_uri


def test_a_job_whose_local_files_were_edited_in_place_is_another_one(tmp_path: Path) -> None:
    data_file, folder, weights, notes = (
        tmp_path / name for name in ("t.jsonl", "validation", "model/model.safetensors", "model/NOTES.txt")
    )
    for path in (data_file, folder / "a.jsonl", weights, notes, tmp_path / "model/config.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("one")
    teacher = {"source": data(teacher=str(tmp_path / "teacher"))["teacher"]}
    (tmp_path / "teacher").mkdir()
    asked = build_job(
        model={"source": data(m=str(tmp_path / "model"))["m"]},
        teacher=teacher,
        dataset=data(training=str(data_file), validation=str(folder)),
        automodel={"training": {"trainingType": "distillation"}},
    )
    seen = [here(asked).uid]
    for path in (data_file, folder / "a.jsonl", weights, tmp_path / "teacher/config.json"):
        path.write_text("two")
        seen.append(here(asked).uid)
    assert len(set(seen)) == len(seen)
    notes.write_text("two")
    assert here(asked).uid == seen[-1], "nobody reads these notes"


def test_a_pod_takes_no_path_of_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, changes in enumerate(
        [{"dataset": data(training="/etc")}, {"model": {"source": data(m="/etc")["m"]}}, {"artifactUri": "file:///o"}]
    ):
        file = tmp_path / f"{number}.json"
        file.write_text(build_job(**changes).to_json())
        arguments = ["preflight", "--job", str(file), "--termination-message", str(tmp_path / "message")]
        monkeypatch.setattr(sys, "argv", ["customizer-trainer", *arguments])
        assert main() == 64
        assert "which only `run` takes" in (tmp_path / "message").read_text()


def test_a_backend_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("customizer_trainer.commands.run.installed_versions", lambda packages: {})
    with pytest.raises(CustomizerError, match=r"unsloth.*\[unsloth\]") as raised:
        check_installed(build_job(automodel=None, unsloth={}))
    assert raised.value.reason is Reason.CRASHED
