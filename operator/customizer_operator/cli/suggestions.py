"""The nearest plan that works: one number changed, tried against the very rules that refused the job."""

import copy
from collections.abc import Iterator

from pydantic import ValidationError

from customizer_contract.steps import data_parallel_size
from customizer_operator.api.automodel import Automodel
from customizer_operator.api.base import Resource
from customizer_operator.cli.admission import Verdict, admit

_FARTHEST = 32
"""How far a count of nodes, GPUs or samples may be from what was asked for."""


def suggest(verdict: Verdict, kind: type[Resource]) -> list[str]:
    """Returns changes, each of which alone ends a refusal and causes none, as `spec.automodel.field: value`."""
    if not verdict.refusals or any(refusal.blocks_rules for refusal in verdict.refusals):
        return []
    try:
        spec = Automodel.model_validate(verdict.item["spec"].get("automodel"))
    except ValidationError:
        return []
    suggestions = []
    for group, field, values in _candidates(spec):
        for value in values:
            changed = copy.deepcopy(verdict.item)
            changed["spec"]["automodel"][group][field] = value
            if set(admit(changed, kind).refusals) < set(verdict.refusals):
                suggestions.append(f"spec.automodel.{group}.{field}: {value}")
                break
    return suggestions


def _candidates(spec: Automodel) -> Iterator[tuple[str, str, list[int]]]:
    """Yields the numbers that may be changed, and what to, the nearest first."""
    batch, parallelism = spec.batch, spec.parallelism
    unit = max(1, batch.micro_batch_size * data_parallel_size(spec.outline))
    multiples = [size for size in (batch.global_batch_size // unit * unit + more for more in (0, unit)) if size > 0]
    yield "batch", "globalBatchSize", sorted(multiples, key=lambda size: abs(size - batch.global_batch_size))
    yield "batch", "microBatchSize", _around(batch.micro_batch_size)
    yield "parallelism", "numNodes", _around(parallelism.num_nodes)
    yield "parallelism", "numGpusPerNode", _around(parallelism.num_gpus_per_node)
    for field in ("tensor", "pipeline", "context", "expert"):
        value = getattr(parallelism, f"{field}_parallel_size")
        if value is not None and value > 1:
            yield "parallelism", f"{field}ParallelSize", _around(value)


def _around(value: int) -> list[int]:
    """Returns the numbers near one, the smaller of two that are equally near first: what is there is enough for it."""
    return [number for step in range(1, _FARTHEST) for number in (value - step, value + step) if number > 0]
