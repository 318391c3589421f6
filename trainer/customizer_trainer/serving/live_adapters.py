"""Keeps the adapters of a running server as they are wished: level-triggered, one adapter never in another's way."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from customizer_contract.adapters import AdapterInput, AdapterReport, SidecarReport, Wish
from customizer_contract.catalogue import CATALOGUE
from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.result import Problem
from customizer_trainer.outcome import problem_of
from customizer_trainer.serving.artifacts import Artifact
from customizer_trainer.serving.engines import Engine, Listing

log = logging.getLogger(__name__)

_AT_ONCE = 4
_FORGETTING_PAUSE = 1.0
"""Seconds until a server is asked again that has to forget an adapter before it is given its successor."""
_FIRST_PAUSE = 2.0
_LAST_PAUSE = 60.0
"""Seconds until an adapter is tried again: doubled from the first to the last."""

Find = Callable[[AdapterInput], Artifact]
"""Reads a manifest and checks what it says."""
Bring = Callable[[Artifact, Path], None]
"""Brings the files of an artifact into a folder, verifies them and checks that they fit."""


@dataclass(slots=True)
class _Entry:
    wanted: AdapterInput
    artifact: Artifact | None = None
    task: Future[Artifact] | None = None
    problem: Problem | None = None
    failures: int = 0
    due: float = 0.0


@dataclass(slots=True)
class LiveAdapters:
    """The adapters of one server."""

    engine: Engine
    find: Find
    bring: Bring
    clock: Callable[[], float]
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _listing: Listing | None = None
    _starts: int = 0
    _has_settled: bool = False
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_AT_ONCE, "adapters"))

    @property
    def _loaded(self) -> dict[str, str] | None:
        return None if self._listing is None else self._listing.adapters

    @property
    def is_settled(self) -> bool:
        """Whether the server answers and has been given every adapter, or why not is known."""
        loaded = self._loaded
        return loaded is not None and all(
            _is_loaded(entry, loaded) or entry.problem is not None for entry in self._entries.values()
        )

    @property
    def is_ready(self) -> bool:
        """Whether the server answers and was settled once since it has started; what is wished later comes beside."""
        return self._loaded is not None and self._has_settled

    @property
    def state(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Tells how often the server has come up, and what it has loaded: whatever changes its answers."""
        return self._starts, tuple(sorted((self._loaded or {}).items()))

    @property
    def is_at_rest(self) -> bool:
        """Whether the server answers to every adapter that is wished."""
        loaded = self._loaded
        return loaded is not None and all(_is_loaded(entry, loaded) for entry in self._entries.values())

    @property
    def is_busy(self) -> bool:
        """Whether adapters are on their way to this disk."""
        return any(entry.task is not None for entry in self._entries.values())

    def step(self, wish: Wish) -> SidecarReport:
        """Brings the server nearer to the wish and tells how it stands. It waits for no download."""
        wanted = {adapter.name: adapter for adapter in wish.adapters}
        before, is_told = self._loaded, self._look()
        for name in list(self._entries):
            # The task of an adapter that is not wished any more ends by itself, and nobody asks for its outcome.
            if self._entries[name].wanted != wanted.get(name):
                del self._entries[name]
        for name, adapter in wanted.items():
            self._entries.setdefault(name, _Entry(adapter))
        # A server that does not tell what it has, because it is busy, is not touched.
        if is_told and self._loaded is not None:
            if before is None:
                self._starts += 1
                self._has_settled = False
                # A server that was started anew knows of none; whatever was wrong with one is tried again, too.
                for entry in self._entries.values():
                    entry.due = 0.0
            self._drop_strangers(self._loaded)
            for entry in self._entries.values():
                self._advance(entry, self._loaded)
        self._has_settled = self._has_settled or self.is_settled
        told = [self._tell(entry) for entry in self._entries.values()]
        return SidecarReport(wish=wish.digest, adapters=told, models=self._listing.names if self._listing else None)

    def close(self) -> None:
        """Lets what is under way go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(self) -> bool:
        """Asks the server what it has. False if it does not tell: then what was known stays, for it is no new one."""
        try:
            self._listing = self.engine.look()
        except CustomizerError as error:
            log.debug("%s", error)
            return False
        return True

    def _drop_strangers(self, loaded: dict[str, str]) -> None:
        for name in loaded.keys() - self._entries.keys():
            try:
                self.engine.unload(name)
            except CustomizerError as error:
                log.warning("%s stays for now: %s", name, error)
            else:
                log.info("%s is unloaded", name)
                del loaded[name]

    def _advance(self, entry: _Entry, loaded: dict[str, str]) -> None:
        if entry.task is not None:
            if not entry.task.done():
                return
            task, entry.task = entry.task, None
            try:
                entry.artifact = task.result()
                if not _is_loaded(entry, loaded) and not self.engine.load(entry.wanted.name, entry.artifact.digest):
                    entry.due = self.clock() + _FORGETTING_PAUSE
                    return
            except CustomizerError as error:
                self._postpone(entry, problem_of(error))
                return
            except OSError as error:
                self._postpone(entry, Problem(reason=Reason.DISK_FULL, message=f"It cannot be stored: {error}."))
                return
            log.info("%s is given to the server: %s", entry.wanted.name, entry.artifact.uri)
            entry.problem, entry.failures = None, 0
            entry.due = self.clock() + _LAST_PAUSE
            self._look()
        elif not _is_loaded(entry, loaded) and self.clock() >= entry.due:
            entry.task = self._pool.submit(self._prepare, entry.wanted)

    def _prepare(self, wanted: AdapterInput) -> Artifact:
        artifact = self.find(wanted)
        self.bring(artifact, self.engine.find_folder(wanted.name, artifact.digest))
        return artifact

    def _postpone(self, entry: _Entry, problem: Problem) -> None:
        if problem != entry.problem:
            log.warning("%s: %s: %s", entry.wanted.name, problem.reason, problem.message)
        entry.problem = problem
        entry.due = self.clock() + min(_LAST_PAUSE, _FIRST_PAUSE * 2.0 ** min(entry.failures, 10))
        entry.failures += 1

    def _tell(self, entry: _Entry) -> AdapterReport:
        manifest = entry.artifact.manifest if entry.artifact else None
        report = AdapterReport(
            name=entry.wanted.name,
            state="Loading",
            manifest_digest=entry.artifact.digest if entry.artifact else None,
            prompt_format=manifest.prompt_format if manifest else None,
            adapter=manifest.adapter if manifest else None,
        )
        if self._loaded is not None and _is_loaded(entry, self._loaded):
            return report.model_copy(update={"state": "Loaded"})
        problem = entry.problem
        if problem is None:
            return report
        state = "Loading" if CATALOGUE[problem.reason].retryable else "Refused"
        return report.model_copy(update={"state": state, "reason": problem.reason, "message": problem.message})


def _is_loaded(entry: _Entry, loaded: dict[str, str]) -> bool:
    return entry.artifact is not None and loaded.get(entry.wanted.name) == entry.artifact.digest
