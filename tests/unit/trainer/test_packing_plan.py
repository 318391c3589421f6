"""Whether the samples of a job are packed, and that a step sees as many tokens as without."""

import numpy as np
import pytest

from customizer_contract.steps import data_parallel_size
from customizer_trainer.datasets.facts import Batching, describe_packing
from customizer_trainer.packing import plan_packing
from tests.unit.trainer.conftest import build_job


@pytest.mark.parametrize(
    ("batch", "gpus"),
    [
        pytest.param({"globalBatchSize": 64, "microBatchSize": 1}, 1, id="one GPU"),
        pytest.param({"globalBatchSize": 512, "microBatchSize": 4}, 4, id="four GPUs"),
        pytest.param({"globalBatchSize": 512, "microBatchSize": 2}, 8, id="eight GPUs"),
    ],
)
def test_a_step_sees_as_many_tokens_and_little_is_padded(batch: dict[str, int], gpus: int) -> None:
    chance = np.random.default_rng(1)
    lengths = np.clip(chance.lognormal(5.0, 0.8, 20_000).astype(np.int64), 8, 2048)
    job = build_job(
        automodel={"batch": {**batch, "sequencePacking": True}, "parallelism": {"numGpusPerNode": gpus}},
    )
    outline = job.outline
    batching = Batching(outline.global_batch_size, outline.micro_batch_size, outline.world_size)
    facts = describe_packing(np.bincount(lengths), batching, outline.max_seq_length)
    packing = plan_packing(outline, facts)
    assert facts.fill >= 0.95
    tokens = packing.packs_per_step * packing.size * facts.fill
    assert tokens == pytest.approx(outline.global_batch_size * lengths.mean(), rel=0.15)
    assert packing.packs_per_step % (packing.packs_per_micro_batch * data_parallel_size(job.outline)) == 0
    assert packing.size <= job.outline.max_seq_length
