"""Training SmolLM2-135M on this machine's CPU: our trainer against the backends' own command lines, and packing.

Both get the same settings and samples of one length, and are loaded at once; they train in turns, a few steps each
while the other one is stopped, so that what else happens on the machine slows both. What counts is the median time of
a step. Then ours goes on alone, saving and uploading a checkpoint every minute, of an adapter as the demo trains it.
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
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Self

from customizer_contract.job import Job
from customizer_trainer.training.events import EventReader, Saved, Stepped
from tests.bench.processes import count_processor_seconds, find_tree
from tests.cluster.environments import make
from tests.cluster.settings import REPOSITORY
from tests.train.conftest import client
from tests.train.harness import Storage, build_job
from tests.train.storage_server import StorageServer

BATCH, MICRO_BATCH = 8, 4
WARM_UP, TURNS, TURN_STEPS = 3, 3, 6
CHECKPOINTS = 1
PARTS = ("automodel", "unsloth", "packing")
_POLL_SECONDS = 0.1
_LIMIT_SECONDS = 300.0
"""How long a turn may take; the first one has the start in it."""
_WORDS = ("river", "stone", "cloud", "green", "seven", "house", "north", "light", "paper", "train")
_STEP = re.compile(r"\bstep (\d+) ")


@dataclass(frozen=True, slots=True)
class Step:
    """One step, from the end of the one before."""

    begin: float
    end: float
    tokens: int = 0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


@dataclass
class Course:
    """When the steps of a training were done, and what happened beside them; seconds of the epoch."""

    ends: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Of each step; of a peer, nobody says."""
    saves: list[tuple[float, float]] = field(default_factory=list)
    """When a checkpoint was on the disk, and how long training had stood still."""
    uploads: list[float] = field(default_factory=list)
    """When one was complete."""
    turns: list[tuple[int, float]] = field(default_factory=list)
    """Steps of each turn, and the processor's seconds that they took."""
    stops: list[float] = field(default_factory=list)
    """When it was made to wait for the other one."""

    def steps(self) -> list[Step]:
        """Returns the steps in which it was not made to wait, the first few left out."""
        tokens = self.tokens or [0] * len(self.ends)
        steps = [Step(begin, end, count) for (begin, end), count in zip(pairwise(self.ends), tokens[1:], strict=True)]
        return [step for step in steps[WARM_UP:] if not any(step.begin <= stop < step.end for stop in self.stops)]

    def processor_seconds(self) -> float:
        """Returns the processor's seconds of a step, the first turn left out: what else runs here hardly counts."""
        return sum(seconds for _, seconds in self.turns[1:]) / sum(steps for steps, _ in self.turns[1:])

    def quiet(self) -> list[float]:
        """Returns the seconds of the steps beside which no checkpoint was written or uploaded."""
        busy = [
            (saved - stood, min((done for done in self.uploads if done > saved), default=float("inf")))
            for saved, stood in self.saves
        ]
        return [
            step.seconds
            for step in self.steps()
            if not any(begin < step.end and step.begin < end for begin, end in busy)
        ]


class Training(ABC):
    """A process that trains, and can be stopped for a while. What it writes tells what it has done, and when."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.course = Course()
        self._log = folder / "log"
        paths = f"{REPOSITORY / 'trainer'}:{REPOSITORY / 'operator'}:{REPOSITORY}"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", **environment},
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @abstractmethod
    def listen(self) -> None:
        """Takes up what is new: files were written when it happened, so looking seldom disturbs nobody."""

    def until(self, condition: Callable[[], bool]) -> None:
        """Lets it train until something has come about, then stops it."""
        self._signal(signal.SIGCONT)
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self._log.read_text()[-2000:])
            time.sleep(_POLL_SECONDS)
            self.listen()
        self._signal(signal.SIGSTOP)
        self.course.stops.append(time.time())

    def do_steps(self, count: int) -> None:
        """Lets it do so many steps more, as its turn."""
        done, used = len(self.course.ends), count_processor_seconds(self._process.pid)
        self.until(lambda: len(self.course.ends) >= done + count)
        took = count_processor_seconds(self._process.pid) - used
        self.course.turns.append((len(self.course.ends) - done, took))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it, and all that it has started."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for pid in find_tree(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class Ours(Training):
    """Our trainer, as people run it on one machine."""

    def __init__(self, python: Path, job: Job, model: Path, data: Path, folder: Path, storage: Storage) -> None:
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(job.to_json())
        command = [str(python), "-P", "-m", "customizer_trainer", "run", "--job", str(folder / "job.json")]
        paths = ["--model", str(model), "--training", str(data), "--workspace", str(folder / "workspace")]
        super().__init__([*command, *paths], folder, storage.environment)
        self._changed = 0

    def listen(self) -> None:
        """Reads what rank 0 has told."""
        for events in (self.folder / "workspace").glob("*/attempt-1/events/rank-0.jsonl"):
            if (changed := events.stat().st_mtime_ns) == self._changed:
                continue
            self._changed, at, course = changed, changed / 1e9, self.course
            told = [event for _, event in EventReader(events.parent).news()]
            steps = [event for event in told if isinstance(event, Stepped)]
            course.ends += [at] * (len(steps) - len(course.ends))
            course.tokens = [event.tokens for event in steps]
            saves = [event for event in told if isinstance(event, Saved)]
            course.saves += [(at, event.seconds) for event in saves[len(course.saves) :]]
        complete = self._log.read_text().count(" is complete")
        self.course.uploads += [time.time()] * (complete - len(self.course.uploads))

    def read_recipe(self) -> dict[str, Any]:
        """Returns what it has told the library."""
        (recipe,) = (self.folder / "workspace").glob("*/attempt-1/recipe.json")
        settings: dict[str, Any] = json.loads(recipe.read_text())
        return settings


class Peer(Training):
    """The library's own command line."""

    def __init__(self, python: Path, backend: str, recipe: dict[str, Any], data: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        settings = _own_automodel(recipe, data) if backend == "automodel" else {**recipe, "data": str(data)}
        (folder / "settings.yaml").write_text(json.dumps(settings))
        command = [str(python), "-P", "-m", f"tests.bench.{backend}_peer", str(folder / "settings.yaml")]
        super().__init__(command, folder, {})

    def listen(self) -> None:
        """Reads the number of the step from what it prints."""
        at = self._log.stat().st_mtime
        seen = len(set(_STEP.findall(self._log.read_text())))
        self.course.ends += [at] * (seen - len(self.course.ends))


def write_records(path: Path, lengths: Callable[[random.Random], int], count: int = 4000) -> None:
    """Writes prompt/completion records of so many words, most of them one token each."""
    chance = random.Random(0)
    with path.open("w") as stream:
        for _ in range(count):
            words = chance.choices(_WORDS, k=lengths(chance))
            stream.write(json.dumps({"prompt": " ".join(words[:-4]), "completion": " " + " ".join(words[-4:])}) + "\n")


def report(model: Path, *parts: str) -> None:
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
            print(
                f"{'':<12}{'ours tokens/s':>15}{'own tokens/s':>15}{'ratio':>8}{'by CPU time':>13}{'checkpoints':>13}",
                flush=True,
            )
            for part in parts or PARTS:
                if part == "packing":
                    _bench_packing(model, folder, server.storage)
                else:
                    _bench_backend(part, model, data, folder / part, server.storage)
        finally:
            server.stop()


def _bench_backend(backend: str, model: Path, data: Path, folder: Path, storage: Storage) -> None:
    python = make(backend) / "bin" / "python"
    with Ours(python, _job(storage, backend, {}, minutes=1.0), model, data, folder, storage) as ours:
        ours.until(lambda: len(ours.course.ends) > 0)
        with Peer(python, backend, ours.read_recipe(), data, folder / "own") as own:
            _take_turns(ours, own)
        tokens = median(ours.course.tokens)
        speeds = [tokens / median(seconds) for seconds in (ours.course.quiet(), own.course.quiet())]
        print(f"{backend:<12}{speeds[0]:>15.0f}{speeds[1]:>15.0f}{speeds[0] / speeds[1]:>8.2f}", end="", flush=True)
        print(f"{own.course.processor_seconds() / ours.course.processor_seconds():>13.2f}", end="", flush=True)
        print(f"{_measure_checkpoints(ours):>13.1%}", flush=True)


def _measure_checkpoints(ours: Ours) -> float:
    """Returns what checkpoints add to the training time: standing still, and slower steps beside uploads."""
    course = ours.course
    # From the step in which one becomes complete, which is due at once after all the waiting, to that of the last one.
    first = len(course.uploads)
    last = first + CHECKPOINTS
    ours.until(lambda: len(course.uploads) > last and course.ends[-1] > course.uploads[last])
    begin, end = (
        next(index for index, at in enumerate(course.ends) if at > course.uploads[number]) for number in (first, last)
    )
    return (course.ends[end] - course.ends[begin]) / (median(course.quiet()) * (end - begin)) - 1


def _bench_packing(model: Path, folder: Path, storage: Storage) -> None:
    data = folder / "mixed.jsonl"
    write_records(data, lambda chance: min(200, 8 + int(chance.expovariate(1 / 40))))
    python = make("automodel") / "bin" / "python"
    jobs = [_job(storage, "automodel", {"sequencePacking": packs}, minutes=60.0) for packs in (False, True)]
    with (
        Ours(python, jobs[0], model, data, folder / "plain", storage) as plain,
        Ours(python, jobs[1], model, data, folder / "packed", storage) as packed,
    ):
        _take_turns(plain, packed)
        speeds = [
            sum(step.tokens for step in steps) / sum(step.seconds for step in steps)
            for steps in (plain.course.steps(), packed.course.steps())
        ]
    print(f"\nPacking samples of mixed lengths: {speeds[1]:.0f} tokens/s, without {speeds[0]:.0f} tokens/s")
    print(f"ratio: {speeds[1] / speeds[0]:.2f}", flush=True)


def _take_turns(*trainings: Training) -> None:
    """Lets trainings take turns, the first time until they are warm."""
    for turn in range(1 + TURNS):
        for training in trainings:
            training.do_steps(TURN_STEPS if turn else 1 + WARM_UP)


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


if __name__ == "__main__":
    report(Path(sys.argv[1]), *sys.argv[2:])
