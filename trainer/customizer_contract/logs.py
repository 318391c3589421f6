"""A line of the trainer's log: one JSON object."""

from datetime import datetime

from customizer_contract.base import Model


class LogEntry(Model):
    """What was said, by whom, and where the training was."""

    time: datetime
    level: str
    """DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    logger: str
    """The part that said it; `output` for what a process printed."""
    message: str
    exception: str | None = None
    """The stack trace, if there is one."""
    attempt: int | None = None
    node: int | None = None
    rank: int | None = None
    """Among the ranks of all nodes; absent when it was not a rank that spoke."""
    step: int | None = None
    """Optimizer steps done."""

    @property
    def for_people(self) -> str:
        """The entry without its time and logger, and without the level that most have."""
        level = "" if self.level == "INFO" else f"{self.level} "
        who = "" if self.rank is None else f"rank {self.rank}: "
        trace = "" if self.exception is None else f"\n{self.exception}"
        return f"{level}{who}{self.message}{trace}"
