"""Where things lie on a pod's disk: what `fetch` brings, what an attempt writes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workspace:
    """A pod's writable disk. It may be empty, or hold what a killed container has left."""

    root: Path

    @property
    def model(self) -> Path:
        """Configuration, tokenizer and weights, when they had to be downloaded."""
        return self.root / "model"

    @property
    def teacher(self) -> Path:
        """The same of the model to learn from."""
        return self.root / "teacher"

    @property
    def data(self) -> Path:
        """Data files, when they had to be downloaded."""
        return self.root / "data"

    @property
    def samples(self) -> Path:
        """Tokenized samples of both splits."""
        return self.root / "samples"

    @property
    def fetched(self) -> Path:
        """Written last by `fetch`: what is here and where (`commands.fetch.Fetched`)."""
        return self.root / "fetched.json"

    @property
    def log(self) -> Path:
        """All that was logged, as JSON lines; only of `run`."""
        return self.root / "log.jsonl"

    @property
    def resume(self) -> Path:
        """Checkpoints brought from S3, one folder each."""
        return self.root / "resume"

    def attempt(self, number: int) -> "AttemptFolder":
        """Returns the folder of an attempt."""
        return AttemptFolder(self.root / f"attempt-{number}")


@dataclass(frozen=True, slots=True)
class AttemptFolder:
    """What one attempt writes. Emptied when the attempt starts, so that nothing stale is ever taken up."""

    root: Path

    @property
    def recipe(self) -> Path:
        """The backend's configuration."""
        return self.root / "recipe.json"

    @property
    def output(self) -> Path:
        """What the ranks print."""
        return self.root / "output"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints as the backend writes them."""
        return self.root / "checkpoints"

    @property
    def events(self) -> Path:
        """One file of events a rank (`training.events`)."""
        return self.root / "events"

    @property
    def trackers(self) -> Path:
        """What the processes that tell trackers need, and write."""
        return self.root / "trackers"

    @property
    def artifact(self) -> Path:
        """The files that are published."""
        return self.root / "artifact"
