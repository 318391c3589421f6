"""The numbers of a model's configuration on which its size depends, and how it can be shared out."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from customizer_contract.base import Model

Dtype = Literal["bfloat16", "float16", "float32"]
"""Data type of weights."""


class ModelShape(Model):
    """A decoder's measures, as its configuration says them."""

    layers: int = Field(ge=1)
    """Decoder layers."""
    hidden_size: int = Field(ge=1)
    """Numbers between layers, a token."""
    intermediate_size: int = Field(ge=1)
    """Width of a dense layer's feed-forward part."""
    attention_heads: int = Field(ge=1)
    """Heads of queries."""
    key_value_heads: int = Field(ge=1)
    """Heads of keys and values."""
    head_size: int = Field(ge=1)
    """Numbers a head."""
    vocabulary_size: int = Field(ge=1)
    """Rows of the embedding."""
    tied_embeddings: bool = False
    """Whether the head that names the next token is the embedding itself."""
    experts: int = Field(0, ge=0)
    """Experts of a layer; 0 of a dense model."""
    experts_per_token: int = Field(0, ge=0)
    """Experts that a token passes."""
    expert_size: int = Field(0, ge=0)
    """Width of an expert."""

    @property
    def query_size(self) -> int:
        """Numbers of all query heads, a token."""
        return self.attention_heads * self.head_size

    @property
    def key_value_size(self) -> int:
        """Numbers of all key heads, a token; as many of the values."""
        return self.key_value_heads * self.head_size

    @property
    def projections(self) -> tuple["Projection", ...]:
        """The linear layers of a decoder layer, by the names that most models give them."""
        hidden, query, other = self.hidden_size, self.query_size, self.key_value_size
        width, copies = (self.expert_size, self.experts) if self.experts else (self.intermediate_size, 1)
        return (
            Projection("q_proj", hidden, query),
            Projection("k_proj", hidden, other),
            Projection("v_proj", hidden, other),
            Projection("o_proj", query, hidden),
            Projection("gate_proj", hidden, width, copies),
            Projection("up_proj", hidden, width, copies),
            Projection("down_proj", width, hidden, copies),
        )

    @property
    def layer_parameters(self) -> int:
        """Weights of a decoder layer: its projections, two norms, and the router of its experts."""
        router = self.experts * self.hidden_size
        return sum(each.parameters for each in self.projections) + 2 * self.hidden_size + router

    @property
    def embedding_parameters(self) -> int:
        """Weights of the embedding."""
        return self.vocabulary_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """All weights."""
        ends = self.embedding_parameters * (1 if self.tied_embeddings else 2)
        return self.layers * self.layer_parameters + ends + self.hidden_size


@dataclass(frozen=True, slots=True)
class Projection:
    """A linear layer."""

    name: str
    inputs: int
    outputs: int
    copies: int = 1
    """One an expert."""

    @property
    def parameters(self) -> int:
        """Its weights."""
        return self.inputs * self.outputs * self.copies
