"""Architectures that nemo_automodel 0.7.0 trains with classes of its own, and that transformers does not know."""

OWN = frozenset(
    {
        "BaichuanForCausalLM",
        "BailingMoeV2ForCausalLM",
        "DeepseekV41ForCausalLM",
        "HyMT2ForCausalLM",
        "KimiK3ForCausalLM",
        "KimiLinear48BForCausalLM",
        "MiMoV25ForCausalLM",
        "MiMoV2ForCausalLM",
        "Step3p5ForCausalLM",
    }
)
