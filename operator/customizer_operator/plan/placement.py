"""Which pods of an attempt must be near each other: the mesh of parallelisms as groups of pods with their domains."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from customizer_contract.outline import Outline
from customizer_contract.steps import data_parallel_size
from customizer_operator.api.scheduling import Domain, Topology


class Parallelism(StrEnum):
    """Which ranks a group is made of."""

    TENSOR = "Tensor"
    """Ranks that share each layer's matrices: they talk several times a layer."""
    CONTEXT = "Context"
    """Ranks that share each sequence, their tensor groups included: they talk in each layer."""
    EXPERT = "Expert"
    """Ranks that share the experts: they exchange tokens in each layer."""
    SHARD = "Shard"
    """Ranks that share the weights of a pipeline stage: they gather and scatter them in each layer."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """How an attempt's ranks are divided, outermost first: consecutive ranks share the innermost."""

    pipeline: int = 1
    replicate: int = 1
    """Copies of the sharded weights."""
    shard: int = 1
    context: int = 1
    tensor: int = 1
    expert: int = 1
    """Consecutive ranks that share the experts; it divides no further, but lies across shard and context."""
    processes: int = 1
    """Ranks of each pod."""

    @property
    def world_size(self) -> int:
        """Counts the ranks."""
        return self.pipeline * self.replicate * self.shard * self.context * self.tensor

    @property
    def pods(self) -> int:
        """Counts the pods."""
        return self.world_size // self.processes


@dataclass(frozen=True, slots=True)
class Group:
    """Groups of consecutive pods, all of one size: group N holds the pods from N * size on."""

    parallelism: Parallelism
    size: int
    """Pods of a group."""
    count: int
    domain: Domain
    label: str | None = None
    """Label whose value the nodes of a group share; none in a node, and anywhere."""
    required: bool = False
    """Whether the attempt had rather wait than run without; not every scheduler can be asked for that."""

    @property
    def spans_nodes(self) -> bool:
        """Tells whether a group has several pods."""
        return self.size > 1


@dataclass(frozen=True, slots=True)
class Granted:
    """Where the pods of one group are."""

    number: int
    nodes: tuple[str, ...]
    domains: tuple[str, ...]
    """Values of the group's label on those nodes, a node's own name where it has none; several: the group crosses
    domains."""


def find_mesh(outline: Outline) -> Mesh:
    """Returns how a training divides its ranks. Raises ValueError for sizes that do not divide them.

    The CRD refuses such sizes; one of another release may not.
    """
    mesh = Mesh(
        pipeline=outline.pipeline_parallel_size,
        replicate=outline.data_parallel_replicate_size,
        shard=data_parallel_size(outline) // outline.data_parallel_replicate_size,
        context=outline.context_parallel_size,
        tensor=outline.tensor_parallel_size,
        expert=outline.expert_parallel_size,
        processes=outline.processes,
    )
    if mesh.world_size != outline.world_size or mesh.world_size % (mesh.pipeline * mesh.tensor * mesh.expert):
        raise ValueError("automodel.parallelism: the sizes do not divide numNodes * numGpusPerNode")
    return mesh


def find_groups(mesh: Mesh, topology: Topology | None) -> tuple[Group, ...]:
    """Returns the groups of the parallelisms that are in use, the one that talks most first."""
    known = () if topology is None else topology.domains
    context = mesh.tensor * mesh.context
    groups = []
    if mesh.tensor > 1:
        groups.append(_find_group(Parallelism.TENSOR, mesh.tensor, mesh, known))
    if mesh.context > 1:
        groups.append(_find_group(Parallelism.CONTEXT, context, mesh, known))
    if mesh.expert > 1:
        groups.append(_find_group(Parallelism.EXPERT, mesh.expert, mesh, known))
    if mesh.shard > 1:
        blocks = tuple(entry for entry in known if entry[0] is Domain.BLOCK)
        groups.append(_find_group(Parallelism.SHARD, context * mesh.shard, mesh, blocks))
    return tuple(groups)


def _find_group(
    parallelism: Parallelism, ranks: int, mesh: Mesh, domains: Sequence[tuple[Domain, str, int | None]]
) -> Group:
    """Returns the groups in the fastest domain that holds one."""
    # Groups that do not end with a pod overlap in it: the smallest run of pods that holds whole groups stays together.
    size = math.lcm(ranks, mesh.processes) // mesh.processes
    count = mesh.pods // size
    if size == 1:
        return Group(parallelism, size, count, Domain.NODE, required=True)
    # A training that is sharded over all of its pods runs in several blocks, too, only slower.
    required = parallelism is not Parallelism.SHARD or count > 1
    for domain, label, nodes in domains:
        if nodes is None or size <= nodes:
            return Group(parallelism, size, count, domain, label, required)
    return Group(parallelism, size, count, Domain.ANY)


def crosses_nodes(mesh: Mesh) -> bool:
    """Tells whether the ranks of a tensor-parallel group lie in several pods."""
    return mesh.processes % mesh.tensor != 0


@dataclass(frozen=True, slots=True)
class Slice:
    """Runs of pods of one size, each within one domain."""

    label: str
    size: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What a scheduler is asked for: what matters of the groups, without those that others imply."""

    slices: tuple[Slice, ...] = ()
    """Required, the largest first."""
    whole: str | None = None
    """Label of the domain that the attempt should lie in as a whole."""
    whole_is_required: bool = False


def find_demand(groups: Sequence[Group], pods: int) -> Demand:
    """Returns the demand. A group as large as the attempt is no slice but the whole."""
    near = [group for group in groups if group.spans_nodes]
    # Slices lie within each other: of one label the largest counts, which comes last.
    largest: dict[str, int] = {}
    size = 1
    for group in near:
        if group.label is not None and group.required:
            size = largest[group.label] = math.lcm(size, group.size)
    # Of one size the finest label counts, which comes first.
    finest = {size: label for label, size in reversed(largest.items())}
    whole = finest.pop(pods, None)
    preferred = next((group.label for group in near if not group.required), None)
    return Demand(
        tuple(Slice(finest[size], size) for size in sorted(finest, reverse=True)),
        preferred if whole is None else whole,
        whole_is_required=whole is not None,
    )


def find_granted(group: Group, nodes: Sequence[str], labels: Mapping[str, Mapping[str, str]]) -> list[Granted]:
    """Returns where each group is, from the nodes by rank and the labels by node.

    A node without the label is a domain of its own: nobody knows that it is near another one.
    """
    label, granted = group.label, []
    for number in range(group.count):
        own = tuple(nodes[number * group.size : (number + 1) * group.size])
        domains = () if label is None else tuple(dict.fromkeys(labels.get(node, {}).get(label) or node for node in own))
        granted.append(Granted(number, own, domains))
    return granted
