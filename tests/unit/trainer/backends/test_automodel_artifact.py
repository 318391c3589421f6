import json
from pathlib import Path

from customizer_contract.artifact import AdapterReference
from customizer_trainer.backends.automodel.artifact import assemble_adapter
from customizer_trainer.backends.backend import Base


def test_an_adapter_is_its_weights_and_a_configuration_that_names_the_base_as_the_user_did(tmp_path: Path) -> None:
    model = tmp_path / "checkpoint" / "model"
    model.mkdir(parents=True)
    modules = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.0.mlp.up_proj"]
    config = {"base_model_name_or_path": "/workspace/model", "r": 8, "lora_alpha": 16, "target_modules": modules}
    (model / "adapter_config.json").write_text(json.dumps(config))
    (model / "adapter_model.safetensors").write_bytes(b"weights")
    (model / "tokenizer.json").write_text("{}")
    reference = assemble_adapter(tmp_path / "checkpoint", Base(tmp_path, "org/name"), tmp_path / "artifact")
    assert reference == AdapterReference(rank=8, alpha=16, target_modules=["q_proj", "up_proj"])
    written = {path.name: path.read_bytes() for path in (tmp_path / "artifact").iterdir()}
    assert set(written) == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads(written["adapter_config.json"]) == {**config, "base_model_name_or_path": "org/name"}
