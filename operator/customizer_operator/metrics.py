"""What Prometheus can ask of the operator."""

from collections import Counter as Count
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from customizer_operator.cache import Cache
from customizer_operator.kinds import Kind


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
        self.registry.register(_States(cache, tuple(kinds), depth))


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
            states = Count(
                (item.get("status") or {}).get("state", "Unknown") for item in self._cache.all(kind.resource)
            )
            for state, number in states.items():
                objects.add_metric([kind.resource.kind, state], number)
        yield objects
        yield GaugeMetricFamily("customizer_queue_depth", "Objects that wait to be looked at", value=self._depth())
