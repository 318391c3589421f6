"""Who admits a job's pods, and which of them must be near each other."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_operator.api.common import Name


class Domain(StrEnum):
    """What the pods of a group share, the fastest first."""

    NODE = "Node"
    """One pod: its GPUs talk within the node."""
    FAST = "FastDomain"
    """Nodes with one value of topology.fastDomainLabel."""
    BLOCK = "Block"
    """Nodes with one value of topology.blockLabel."""
    ANY = "Any"
    """Nodes anywhere."""


class Asked(StrEnum):
    """How a scheduler is asked to keep the pods of a group near each other."""

    REQUIRED = "Required"
    """The attempt waits until it can be done."""
    PREFERRED = "Preferred"
    """The attempt runs without where it cannot be done."""


LabelKey = Annotated[
    str,
    Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=317),
]
"""Key of a node label."""


class Topology(Model):
    """Labels that tell how near nodes are to each other."""

    fast_domain_label: LabelKey | None = None
    """Label of nodes whose value names their fastest network, such as nvidia.com/gpu.clique: tensor- and
    context-parallel groups of several pods stay within one value."""
    fast_domain_nodes: int | None = Field(None, ge=1, le=1024)
    """Nodes of a fast domain. Groups of more pods stay in a block instead. Default: every group fits, though not
    every attempt."""
    block_label: LabelKey | None = None
    """Label of nodes whose value names their leaf switch or block, such as network.topology.nvidia.com/leaf: pods that
    share sharded weights stay within one value."""
    block_nodes: int | None = Field(None, ge=1, le=4096)
    """Nodes of a block. Groups of more pods lie anywhere. Default: every group fits."""
    name: Name | None = None
    """KAI's Topology that has these labels as levels. Only with scheduler KAI."""
    allow_tensor_parallel_across_nodes: bool = False
    """Whether a tensor-parallel group may span pods. It must be quick: it then stays within one fast domain."""

    cel_rules = (
        CelRule(
            "!self.allowTensorParallelAcrossNodes || has(self.fastDomainLabel)",
            "allowTensorParallelAcrossNodes needs fastDomainLabel: name the label of the domain that it must stay in",
        ),
    )

    @property
    def domains(self) -> tuple[tuple[Domain, str, int | None], ...]:
        """The domains that are known, the fastest first: label, and nodes if they are told."""
        known = (
            (Domain.FAST, self.fast_domain_label, self.fast_domain_nodes),
            (Domain.BLOCK, self.block_label, self.block_nodes),
        )
        return tuple((domain, label, nodes) for domain, label, nodes in known if label is not None)

    @property
    def names_labels(self) -> bool:
        """Whether any nearness is known."""
        return bool(self.domains)


class Scheduling(Model):
    """Who admits the pods, and which of them must be near each other. It may change; the next attempt obeys it."""

    scheduler: Literal["Default", "Volcano", "KAI"] = "Default"
    """Default: the cluster's scheduler, behind Kueue where a queue is named. Volcano and KAI place whole attempts."""
    queue: Name | None = None
    """Queue that admits each attempt as a whole: Kueue's LocalQueue, or a queue of Volcano or KAI. Kueue goes by quota
    alone, unless topology names a label. Default: none; the default scheduler then places pods one by one, and Volcano
    takes its queue `default`."""
    priority_class: Name | None = None
    """Priority in the queue: Kueue's WorkloadPriorityClass, or a PriorityClass with Volcano and KAI. That of the pods
    is compute.priorityClassName."""
    topology: Topology | None = None
    """Labels that tell how near nodes are to each other. Default: pods run anywhere."""

    cel_rules = (
        CelRule(
            "!has(self.priorityClass) || has(self.queue) || self.scheduler == 'Volcano'",
            "priorityClass orders a queue: name the queue, or use compute.priorityClassName",
        ),
        CelRule("self.scheduler != 'KAI' || has(self.queue)", "scheduler KAI needs a queue: name one of KAI's queues"),
        CelRule(
            "!has(self.topology) || has(self.topology.name) == (self.scheduler == 'KAI')",
            "topology.name and scheduler KAI go together: KAI finds labels by its Topology, others by themselves",
        ),
    )

    @property
    def local_queue(self) -> str | None:
        """Kueue's queue, if Kueue is to admit the attempts."""
        return self.queue if self.scheduler == "Default" else None

    @property
    def places_whole_attempts(self) -> bool:
        """Whether all pods of an attempt are placed or none.

        Kueue looks for nodes only where it is asked for a topology. Else it counts quota, which says nothing of nodes.
        """
        topology_counts = self.queue is not None and self.topology is not None and self.topology.names_labels
        return self.scheduler != "Default" or topology_counts
