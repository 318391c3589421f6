"""All pods and attempts of a job work on the same inputs, or end with a reason."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import PREFLIGHT_FILE, Job
from customizer_contract.sources import FILE_SCHEME
from customizer_trainer.checkpoints import Checkpoint
from customizer_trainer.commands import fetch
from customizer_trainer.pinning import Inputs, agree_on_start, pin_inputs
from customizer_trainer.storage.folder import Folder
from customizer_trainer.storage.store import join
from customizer_trainer.workspace import Workspace
from tests.support.samples import LLAMA
from tests.unit.trainer.conftest import build_job

STORE = Folder()


def write_inputs(folder: Path, tokenizer: Path) -> Job:
    """Writes data, a model and a teacher; returns a job of them."""
    records = [{"prompt": f"What is {number}?", "completion": " A number."} for number in range(20)]
    (folder / "data.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    for name in ("model", "teacher"):
        (folder / name).mkdir()
        for file in tokenizer.iterdir():
            (folder / name / file.name).write_bytes(file.read_bytes())
        (folder / name / "config.json").write_text(json.dumps(LLAMA))
        save_file({"a": np.zeros(8, np.float32)}, folder / name / "model.safetensors")
    return build_job(
        artifactUri=f"{FILE_SCHEME}{folder}/out",
        model={"source": {"kind": "local", "path": str(folder / "model")}},
        teacher={"source": {"kind": "local", "path": str(folder / "teacher")}},
        dataset={"training": {"kind": "local", "path": str(folder / "data.jsonl")}},
        automodel={"training": {"trainingType": "distillation"}},
    )


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("data.jsonl", "dataset"),
        ("model/model.safetensors", "model"),
        ("model/chat_template.jinja", "model"),
        ("teacher/model.safetensors", "teacher"),
    ],
)
def test_what_was_changed_since_another_pod_fetched_it_is_refused(
    tmp_path: Path, tokenizer_folder: Path, file: str, what: str
) -> None:
    job = write_inputs(tmp_path, tokenizer_folder)
    for attempt in range(2):
        fetch.run(job, Workspace(tmp_path / f"pod-{attempt}"))
    with (tmp_path / file).open("a") as stream:
        stream.write("\n")
    workspace = Workspace(tmp_path / "pod-2")
    with pytest.raises(CustomizerError, match=rf"The {what} .* is not what this job began with") as raised:
        fetch.run(job, workspace)
    assert raised.value.reason is Reason.INPUTS_CHANGED
    assert not workspace.fetched.exists(), "nothing may be trained"


def test_data_must_be_those_that_preflight_has_checked(tmp_path: Path) -> None:
    job = build_job(artifactUri=f"{FILE_SCHEME}{tmp_path}/out")
    STORE.put(join(job.work_uri, PREFLIGHT_FILE), json.dumps({"dataset": {"digest": "a" * 64}}).encode())
    pin_inputs(STORE, job, Inputs(dataset="a" * 64, model="m"))
    with pytest.raises(CustomizerError, match=r"The dataset .* is not what preflight has checked") as raised:
        pin_inputs(STORE, job, Inputs(dataset="b" * 64, model="m"))
    assert raised.value.reason is Reason.INPUTS_CHANGED


def at(step: int, attempt: int) -> Checkpoint:
    return Checkpoint(step=step, attempt=attempt, nodes=2)


def test_nodes_of_an_attempt_go_on_from_one_checkpoint(tmp_path: Path) -> None:
    job = build_job(artifactUri=f"{FILE_SCHEME}{tmp_path}/out")
    for node in range(2):
        agree_on_start(STORE, job, 2, node, at(100, 1))
    for start, named in ((at(50, 1), "step-00000050-a1"), (None, "the beginning")):
        with pytest.raises(CustomizerError, match=f"Node 1 would go on from {named}, .* step-00000100-a1") as raised:
            agree_on_start(STORE, job, 2, 1, start)
        assert raised.value.reason is Reason.CRASHED, "which is tried again"
    agree_on_start(STORE, job, 3, 1, None)


def test_an_attempt_that_was_started_again_goes_on_from_what_it_has_saved(tmp_path: Path) -> None:
    job = build_job(artifactUri=f"{FILE_SCHEME}{tmp_path}/out")
    for start in (at(100, 1), at(120, 2)):
        for node in range(2):
            agree_on_start(STORE, job, 2, node, start)
    with pytest.raises(CustomizerError):
        agree_on_start(STORE, job, 2, 1, at(100, 1))
