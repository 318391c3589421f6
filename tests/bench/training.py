"""Training SmolLM2-135M on this machine's CPU: our trainer against the backends' own command lines, and packing.

Both get the same settings and samples of one length; what counts is the median time between two steps, so that what
else happens on the machine for a moment counts little. Our run saves and uploads a checkpoint every minute meanwhile,
of an adapter as the demo trains it. A run is ended when enough steps have been seen.
"""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from customizer_contract.job import Job
from customizer_trainer.training.events import EventReader, Saved, Stepped
from tests.bench.processes import find_tree
from tests.cluster.environments import make
from tests.cluster.settings import REPOSITORY
from tests.train.conftest import client
from tests.train.harness import Storage, build_job
from tests.train.storage_server import StorageServer

BATCH, MICRO_BATCH, WARM_UP, STEPS = 8, 4, 3, 12
CHECKPOINTS = 2
_POLL_SECONDS = 0.02
_LIMIT_SECONDS = 400.0
_WORDS = ("river", "stone", "cloud", "green", "seven", "house", "north", "light", "paper", "train")
_STEP = re.compile(r"\bstep (\d+) ")


@dataclass
class Course:
    """When the steps of a training were done, and what its checkpoints took."""

    steps: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    saves: list[tuple[float, float]] = field(default_factory=list)
    """When a checkpoint was on the disk, and how long training had stood still."""
    uploads: list[float] = field(default_factory=list)
    """When one was complete."""

    @property
    def durations(self) -> list[float]:
        """Seconds from one step to the next, the first few left out."""
        return [after - before for before, after in zip(self.steps[WARM_UP:], self.steps[WARM_UP + 1 :], strict=False)]

    def quiet(self) -> list[float]:
        """Seconds of the steps beside which no checkpoint was written or uploaded."""
        busy = [
            (saved - stood, min((done for done in self.uploads if done > saved), default=float("inf")))
            for saved, stood in self.saves
        ]
        pairs = zip(self.steps[WARM_UP:], self.steps[WARM_UP + 1 :], strict=False)
        return [
            after - before for before, after in pairs if not any(begin < after and before < end for begin, end in busy)
        ]


def write_records(path: Path, lengths: Callable[[random.Random], int], count: int = 600) -> None:
    """Writes prompt/completion records of so many words, most of them one token each."""
    chance = random.Random(0)
    with path.open("w") as stream:
        for _ in range(count):
            words = chance.choices(_WORDS, k=lengths(chance))
            stream.write(json.dumps({"prompt": " ".join(words[:-4]), "completion": " " + " ".join(words[-4:])}) + "\n")


def report(model: Path) -> None:
    """Prints tokens a second of both backends against their own command lines, checkpoints, and what packing gains."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "server").mkdir()
        server = StorageServer(folder / "server")
        server.start()
        try:
            client(server.storage).create_bucket(Bucket="bench")
            data = folder / "data.jsonl"
            write_records(data, lambda _: 48)
            print(f"\nTraining an adapter of {model.name} on a CPU, {BATCH} samples a step, a checkpoint each minute")
            print(f"{'':<12}{'ours tokens/s':>15}{'own tokens/s':>15}{'ratio':>8}{'checkpoints':>14}")
            for backend in ("automodel", "unsloth"):
                _bench_backend(backend, model, data, folder / backend, server.storage)
            _bench_packing(model, folder, server.storage)
        finally:
            server.stop()


def _bench_backend(backend: str, model: Path, data: Path, folder: Path, storage: Storage) -> None:
    python = make(backend) / "bin" / "python"
    job = _job(storage, backend, {}, minutes=1.0)
    ours = _run_ours(python, job, model, data, folder, storage, enough=_has_checkpoints)
    own = _run_own(python, backend, folder, data)
    tokens = median(ours.tokens)
    speeds = tokens / median(ours.quiet()), tokens / median(own.durations)
    spent = _checkpoint_share(ours)
    print(f"{backend:<12}{speeds[0]:>15.0f}{speeds[1]:>15.0f}{speeds[0] / speeds[1]:>8.2f}{spent:>13.1%}")


def _bench_packing(model: Path, folder: Path, storage: Storage) -> None:
    data = folder / "mixed.jsonl"
    write_records(data, lambda chance: min(200, 8 + int(chance.expovariate(1 / 40))))
    python = make("automodel") / "bin" / "python"
    speeds = {}
    for packs in (False, True):
        job = _job(storage, "automodel", {"sequencePacking": packs}, minutes=60.0)
        course = _run_ours(python, job, model, data, folder / f"packs-{packs}", storage, enough=_has_steps)
        speeds[packs] = sum(course.tokens[WARM_UP + 1 :]) / sum(course.durations)
    print(f"\nPacking samples of mixed lengths: {speeds[True]:.0f} tokens/s, without {speeds[False]:.0f} tokens/s")
    print(f"ratio: {speeds[True] / speeds[False]:.2f}")


def _job(storage: Storage, backend: str, batch: dict[str, Any], *, minutes: float) -> Job:
    name = f"{backend}-{len(batch)}-{batch.get('sequencePacking', False)}".lower()
    blocks: dict[str, Any]
    if backend == "automodel":
        blocks = {
            "training": {"lora": {"rank": 16}, "maxSeqLength": 256, "precision": "fp32"},
            "schedule": {"epochs": 100},
            "batch": {"globalBatchSize": BATCH, "microBatchSize": MICRO_BATCH, **batch},
        }
    else:
        blocks = {
            "model": {"maxSeqLength": 256, "loadIn4bit": False, "dtype": "float32"},
            "training": {"lora": {"rank": 16}},
            "schedule": {"epochs": 100, "evalSteps": 100_000},
            "batch": {
                "perDeviceTrainBatchSize": MICRO_BATCH,
                "gradientAccumulationSteps": BATCH // MICRO_BATCH,
            },
            "optimizer": {"optim": "adamw_torch"},
        }
    job = build_job(storage, name, data="s3://bench/data", backend=backend, checkpoint_minutes=minutes, **blocks)
    return job.model_copy(update={"artifact_uri": f"s3://bench/{name}"})


def _has_checkpoints(course: Course) -> bool:
    return len(course.uploads) >= CHECKPOINTS and len(course.steps) > WARM_UP + STEPS


def _has_steps(course: Course) -> bool:
    return len(course.steps) > WARM_UP + STEPS


def _checkpoint_share(course: Course) -> float:
    """Returns what checkpoints have added to the training time: standing still, and slower steps beside uploads."""
    usual = median(course.quiet())
    begin, end = course.steps[WARM_UP], course.uploads[-1]
    steps = [at for at in course.steps if begin < at <= end]
    return (steps[-1] - begin) / (usual * len(steps)) - 1


def _run_ours(
    python: Path, job: Job, model: Path, data: Path, folder: Path, storage: Storage, *, enough: Callable[[Course], bool]
) -> Course:
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(job.to_json())
    command = [str(python), "-P", "-m", "customizer_trainer", "run", "--job", str(folder / "job.json")]
    paths = ["--model", str(model), "--training", str(data), "--workspace", str(folder / "workspace")]
    course = Course()
    with _running([*command, *paths], folder, storage.environment) as process:
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not enough(course):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "log").read_text()[-2000:])
            time.sleep(_POLL_SECONDS)
            _listen(course, folder)
    return course


def _listen(course: Course, folder: Path) -> None:
    """Takes up what is new. Told without a time, so the moment at which it is read counts."""
    for events in (folder / "workspace").glob("*/attempt-1/events"):
        told = [event for rank, event in EventReader(events).news() if rank == 0]
        now = time.monotonic()
        steps = [event for event in told if isinstance(event, Stepped)]
        course.steps += [now] * (len(steps) - len(course.steps))
        course.tokens = [event.tokens for event in steps]
        saves = [event for event in told if isinstance(event, Saved)]
        course.saves += [(now, event.seconds) for event in saves[len(course.saves) :]]
    complete = (folder / "log").read_text().count(" is complete")
    course.uploads += [time.monotonic()] * (complete - len(course.uploads))


def _run_own(python: Path, backend: str, folder: Path, data: Path) -> Course:
    (recipe,) = (folder / "workspace").glob("*/attempt-1/recipe.json")
    settings = _own_automodel(json.loads(recipe.read_text()), data) if backend == "automodel" else None
    settings = settings or {**json.loads(recipe.read_text()), "data": str(data)}
    settings_file = folder / "own.yaml"
    settings_file.write_text(json.dumps(settings))
    course = Course()
    (folder / "own").mkdir()
    with _running(
        [str(python), "-P", "-m", f"tests.bench.{backend}_peer", str(settings_file)], folder / "own", {}
    ) as process:
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not _has_steps(course):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "own" / "log").read_text()[-2000:])
            time.sleep(_POLL_SECONDS)
            seen = len(set(_STEP.findall((folder / "own" / "log").read_text())))
            course.steps += [time.monotonic()] * (seen - len(course.steps))
    return course


def _own_automodel(recipe: dict[str, Any], data: Path) -> dict[str, Any]:
    """Returns our configuration with the library's own dataset and schedule."""
    kept = {name: value for name, value in recipe.items() if name not in {"save_every_seconds", "validation_dataset"}}
    kept.pop("validation_dataloader")
    schedule = {**recipe["step_scheduler"], "ckpt_every_steps": 100_000, "val_every_steps": None}
    return {
        **kept,
        "step_scheduler": {name: value for name, value in schedule.items() if value is not None},
        "checkpoint": {"enabled": False},
        "dataset": {
            "_target_": "nemo_automodel.components.datasets.llm.column_mapped_text_instruction_dataset"
            ".ColumnMappedTextInstructionDataset",
            "path_or_dataset_id": str(data),
            "column_mapping": {"question": "prompt", "answer": "completion"},
        },
    }


@contextlib.contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command with its output in `log`; ends it, and all that it has started, at the end."""
    place = {"PYTHONPATH": f"{REPOSITORY / 'trainer'}:{REPOSITORY / 'operator'}:{REPOSITORY}", "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **place, **environment},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            for pid in find_tree(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    report(Path(sys.argv[1]))
