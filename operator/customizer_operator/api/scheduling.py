"""Who admits a job's pods, and which of them must be near each other."""

from typing import Annotated, Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model
from customizer_operator.api.common import Name

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
    block_label: LabelKey | None = None
    """Label of nodes whose value names their leaf switch or block, such as network.topology.nvidia.com/leaf: pods that
    share sharded weights stay within one value."""
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
    def names_labels(self) -> bool:
        """Whether any nearness is known."""
        return self.fast_domain_label is not None or self.block_label is not None


class Scheduling(Model):
    """Who admits the pods, and which of them must be near each other. It may change; the next attempt obeys it."""

    scheduler: Literal["Default", "Volcano", "KAI"] = "Default"
    """Default: the cluster's scheduler, behind Kueue where a queue is named. Volcano and KAI place whole attempts."""
    queue: Name | None = None
    """Queue that admits each attempt as a whole: Kueue's LocalQueue, or a queue of Volcano or KAI. Default: none; the
    default scheduler then places pods one by one, and Volcano takes its queue `default`."""
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
        """Whether all pods of an attempt are placed or none."""
        return self.queue is not None or self.scheduler != "Default"
