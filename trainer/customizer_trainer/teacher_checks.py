"""Whether a model can learn from a teacher, told by configurations and tokenizers. Pure, but for `read_vocabulary`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from customizer_contract.errors import CustomizerError, Reason
from customizer_contract.job import Job
from customizer_trainer.model import ModelConfig, load_tokenizer
from customizer_trainer.model_checks import check_mesh


def check_teacher(job: Job, config: ModelConfig, teacher: ModelConfig) -> None:
    """Raises TeacherUnfit, or ParallelismInvalid, when the configurations rule it out."""
    length = job.outline.max_seq_length
    if teacher.context_length is not None and length > teacher.context_length:
        raise _unfit(f"maxSeqLength is {length}; the teacher's context is {teacher.context_length} tokens.")
    if config.shape is None or teacher.shape is None:
        return
    sizes = config.shape.vocabulary_size, teacher.shape.vocabulary_size
    if sizes[0] != sizes[1]:
        raise _unfit(f"The model tells {sizes[0]} tokens apart, the teacher {sizes[1]} (vocab_size).")
    if job.automodel is not None:
        try:
            check_mesh(job.automodel, teacher.shape)
        except CustomizerError as error:
            raise CustomizerError(error.reason, f"Of the teacher: {error}", field=error.field) from None


def check_vocabularies(model: Mapping[str, int], teacher: Mapping[str, int]) -> None:
    """Raises TeacherUnfit when the same number means another token."""
    if model == teacher:
        return
    differing = sorted(token for token in model.keys() | teacher.keys() if model.get(token) != teacher.get(token))
    first = differing[0]
    raise _unfit(
        f"{len(differing)} tokens differ, {first!r} first: number {model.get(first, 'none')} of the model,"
        f" {teacher.get(first, 'none')} of the teacher."
    )


def read_vocabulary(folder: Path, *, trust_remote_code: bool) -> dict[str, int]:
    """Returns the numbers of all tokens."""
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code, format_="prompt-completion")
    return dict(cast(Any, tokenizer).get_vocab())


def _unfit(message: str) -> CustomizerError:
    return CustomizerError(Reason.TEACHER_UNFIT, message, field="automodel.training.teacherModel")
