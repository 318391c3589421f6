"""A small real tokenizer, and a job to vary."""

from pathlib import Path
from typing import Any

import pytest

from customizer_contract.job import Job
from customizer_trainer.datasets.tokenizing import Tokenizer
from tests.models.tiny import make_tokenizer


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model's tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    """The tiny model's tokenizer: byte-level BPE, ChatML template, ends a turn with `<|im_end|>`."""
    from transformers import AutoTokenizer

    loaded: Tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    return loaded


def build_job(**changes: Any) -> Job:
    """Builds a job file; blocks are given with the wire's names."""
    return Job.model_validate(
        {
            "name": "tickets",
            "namespace": "demo",
            "uid": "7c9e",
            "specHash": "0" * 64,
            "device": "gpu",
            "model": {"source": {"kind": "s3", "uri": "s3://bucket/model"}},
            "dataset": {"training": {"kind": "s3", "uri": "s3://bucket/data"}},
            "automodel": {},
            "artifactName": "tickets",
            "artifactUri": "s3://bucket/out/tickets",
            **changes,
        }
    )
