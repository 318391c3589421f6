"""How a model's RoPE is scaled, so that it takes longer samples."""

from typing import Literal

from pydantic import Field

from customizer_contract.base import CelRule, Model


class RopeScaling(Model):
    """How positions beyond those that the model was made for are told apart."""

    rope_type: Literal["linear", "yarn", "llama3"]
    """linear, yarn, or llama3. The library follows no other kind."""
    factor: float = Field(gt=1, le=1024)
    """How many times longer samples may be than those that the model was made for."""
    original_max_position_embeddings: int | None = Field(None, ge=1)
    """Tokens that the model was made for. Default: maxPositionEmbeddings of its configuration. Not for linear."""
    low_freq_factor: float | None = Field(None, gt=0)
    """Longer waves than the original length divided by this are stretched in full. Only for llama3."""
    high_freq_factor: float | None = Field(None, gt=0)
    """Shorter waves than the original length divided by this are not stretched. Only for llama3."""

    cel_rules = (
        CelRule(
            "(self.ropeType == 'llama3') == (has(self.lowFreqFactor) && has(self.highFreqFactor))"
            " && has(self.lowFreqFactor) == has(self.highFreqFactor)",
            "lowFreqFactor and highFreqFactor are for ropeType: llama3, which needs both",
        ),
        CelRule(
            "self.ropeType != 'linear' || !has(self.originalMaxPositionEmbeddings)",
            "originalMaxPositionEmbeddings is for ropeType yarn and llama3; remove it",
        ),
    )

    def reach(self, made_for: int) -> int:
        """Returns the tokens that a model takes whose configuration says that it was made for so many."""
        return int((self.original_max_position_embeddings or made_for) * self.factor)
