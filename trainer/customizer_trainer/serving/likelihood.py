"""How likely a server finds the expected answers: the loss that a training computes when it validates."""

from collections.abc import Sequence
from pathlib import Path

from customizer_contract.evaluation import EvaluationInput
from customizer_trainer.datasets.conversations import Conversation
from customizer_trainer.datasets.encoding import Sample, TemplateUnreadableError, encode_conversation, encode_pairs
from customizer_trainer.datasets.tokenizing import TextEncoder
from customizer_trainer.model import load_tokenizer
from customizer_trainer.serving.inference import RefusedError, infer, not_understood
from customizer_trainer.serving.questions import Question
from customizer_trainer.serving.scoring import Mark

_ANY_LENGTH = 2**31 - 1
"""Nothing is shortened: what the server can take is not known here."""


def encode(questions: Sequence[Question], folder: Path) -> list[Sample | str]:
    """Encodes samples as a training does, with the tokenizer and the chat template of a folder.

    Of one that the template does not take it returns why. Raises TokenizerInvalid, or ChatTemplateMissing.
    """
    is_chat = any(isinstance(question, Conversation) for question in questions)
    tokenizer = load_tokenizer(folder, trust_remote_code=False, format_="chat" if is_chat else "prompt-completion")
    encoder = TextEncoder(tokenizer, fast=False)
    return [_encode(question, encoder) for question in questions]


def _encode(question: Question, encoder: TextEncoder) -> Sample | str:
    if isinstance(question, Conversation):
        try:
            found, _ = encode_conversation(question, encoder, _ANY_LENGTH)
        except TemplateUnreadableError as error:
            return str(error)
    else:
        (found,) = encode_pairs([question], encoder, _ANY_LENGTH).samples()
    return found if isinstance(found, Sample) else "It has no prompt."


def measure(port: int, evaluation: EvaluationInput, sample: Sample | str) -> Mark:
    """Asks how likely the tokens of a sample are that a training would learn. Raises EvaluationFailed."""
    if isinstance(sample, str):
        return Mark(refusal=sample)
    ids = sample.ids
    # The server tells it of what it is asked to repeat; that it writes a token more is the least that all can do.
    body = {"prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    try:
        told = infer(port, evaluation, "/v1/completions", body)["choices"][0]["logprobs"]["token_logprobs"]
        # Nothing comes before the first token, so that it has no probability.
        learned = [float(told[place]) for place, is_learned in enumerate(sample.mask) if is_learned and place > 0]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise not_understood(error) from error
    except RefusedError as refusal:
        return Mark(refusal=str(refusal))
    return Mark(loss=-sum(learned), tokens=len(learned))
