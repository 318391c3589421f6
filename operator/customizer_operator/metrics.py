"""What Prometheus can ask of the operator."""

from collections import Counter as Count
from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from customizer_operator.api.base import Object
from customizer_operator.cache import Cache
from customizer_operator.kinds import Kind

_START_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """Counters of the operator and gauges of what it looks after."""

    def __init__(self, cache: Cache, kinds: Iterable[Kind], depth: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter("customizer_reconciles", "Looks at an object", ["kind"], registry=self.registry)
        self.errors = Counter(
            "customizer_reconcile_errors", "Looks that failed and are repeated", ["kind"], registry=self.registry
        )
        self.seconds = Histogram(
            "customizer_reconcile_duration_seconds", "Duration of a look", ["kind"], registry=self.registry
        )
        self.waits = Histogram(
            "customizer_queue_wait_seconds", "Time between an object's turn and the look at it", registry=self.registry
        )
        self.attempts = Counter(
            "customizer_attempts", "Attempts that have ended", ["outcome", "reason"], registry=self.registry
        )
        self.gpu_seconds = Counter(
            "customizer_gpu_seconds", "GPUs times seconds that attempts held them", ["outcome"], registry=self.registry
        )
        self.starts = Histogram(
            "customizer_job_start_seconds",
            "Time between the creation of a job and that of its first PyTorchJob",
            buckets=_START_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_States(cache, tuple(kinds), depth))

    def count(self, job: Object, status: Object) -> None:
        """Counts what a status that was just written tells for the first time."""
        before = {attempt["number"]: attempt for attempt in (job.get("status") or {}).get("attempts", ())}
        for attempt in status.get("attempts", ()):
            if attempt["number"] == 1 and not before:
                self.starts.observe(_seconds(job["metadata"]["creationTimestamp"], attempt["startedAt"]))
            if "outcome" in attempt and "outcome" not in before.get(attempt["number"], {}):
                self._count_end(job, status, attempt)

    def _count_end(self, job: Object, status: Object, attempt: Object) -> None:
        self.attempts.labels(attempt["outcome"], attempt["reason"]).inc()
        if "placedAt" in attempt and job["spec"].get("compute", {}).get("device") != "cpu":
            held = _seconds(attempt["placedAt"], attempt["endedAt"])
            self.gpu_seconds.labels(attempt["outcome"]).inc(held * status["plan"]["worldSize"])


def _seconds(begin: str, end: str) -> float:
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds())


class _States(Collector):
    """Gauges counted when asked for."""

    def __init__(self, cache: Cache, kinds: tuple[Kind, ...], depth: Callable[[], int]) -> None:
        self._cache = cache
        self._kinds = kinds
        self._depth = depth

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yields the gauges."""
        objects = GaugeMetricFamily("customizer_objects", "Objects by kind and state", labels=["kind", "state"])
        for kind in self._kinds:
            states = Count(note.state for _, note in self._cache.notes(kind.resource))
            for state, number in states.items():
                objects.add_metric([kind.resource.kind, state], number)
        yield objects
        yield GaugeMetricFamily("customizer_queue_depth", "Objects that wait to be looked at", value=self._depth())
