"""What NeMo Customizer does wrong with data, and this does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from customizer_contract.packing import fit_batch
from customizer_trainer.datasets.files import find_data
from customizer_trainer.datasets.prepare import Data, Preparation, prepare
from customizer_trainer.datasets.problems import InvalidRecordsError
from customizer_trainer.datasets.prompts import Columns, parse_template
from customizer_trainer.datasets.store import SampleStore
from customizer_trainer.datasets.tokenizing import Tokenizer

CHAT = {"messages": [{"role": "user", "content": "Capital of Peru?"}, {"role": "assistant", "content": "Lima."}]}


def run(
    folder: Path,
    tokenizer: Tokenizer,
    text: str,
    name: str = "a.jsonl",
    columns: Columns = Columns(),  # noqa: B008
) -> tuple[Any, SampleStore]:
    path = folder / name
    path.write_text(text)
    held_out = folder / "val.jsonl"
    held_out.write_text(text.strip().splitlines()[0] if name.endswith("l") else json.dumps(json.loads(text)[0]))
    how = Preparation(columns, max_length=64, validation_share=0.1, seed=1)
    prepared = prepare(Data({name: path}, {"val.jsonl": held_out}), lambda _: tokenizer, how, folder / "samples")
    return prepared, SampleStore(folder / "samples" / "store")


def test_training_and_validation_files_of_one_folder_are_not_both_trained_on() -> None:
    found = find_data(["training.jsonl", "validation.jsonl"])
    assert (found.training, found.validation) == (["training.jsonl"], ["validation.jsonl"])


def test_a_blank_first_line_is_no_error(tmp_path: Path, tokenizer: Tokenizer) -> None:
    prepared, _ = run(tmp_path, tokenizer, "\n" + json.dumps(CHAT) + "\n")
    assert (prepared.facts.training.samples, prepared.facts.empty_rows) == (1, 1)


def test_a_json_file_may_be_an_array(tmp_path: Path, tokenizer: Tokenizer) -> None:
    prepared, _ = run(tmp_path, tokenizer, json.dumps([CHAT, CHAT], indent=2), "a.json")
    assert prepared.facts.training.samples == 2


def test_the_length_of_a_chat_record_is_that_of_its_tokens(tmp_path: Path, tokenizer: Tokenizer) -> None:
    prepared, store = run(tmp_path, tokenizer, json.dumps(CHAT))
    whole = tokenizer.apply_chat_template(CHAT["messages"], tokenize=True, return_dict=False)
    assert prepared.facts.training.lengths.max == len(whole) == len(store.tokens(0))
    assert prepared.facts.packing.size >= len(whole)


def test_a_prompt_template_reaches_the_data(tmp_path: Path, tokenizer: Tokenizer) -> None:
    columns = parse_template("{question} {answer}")
    prepared, _ = run(tmp_path, tokenizer, json.dumps({"question": "q", "answer": "a"}), columns=columns)
    assert prepared.facts.format == "prompt-completion"


def test_an_answer_ends(tmp_path: Path, tokenizer: Tokenizer) -> None:
    _, store = run(tmp_path, tokenizer, json.dumps({"prompt": "p", "completion": "c"}))
    assert store.labels(0)[-1] == tokenizer.eos_token_id


def test_nothing_is_put_between_prompt_and_completion(tmp_path: Path, tokenizer: Tokenizer) -> None:
    _, store = run(tmp_path, tokenizer, json.dumps({"prompt": "p", "completion": "c"}))
    assert tokenizer.decode(store.tokens(0)[:-1]) == "pc"  # type: ignore[attr-defined]


REFUSED = {
    "an empty prompt": {"prompt": "", "completion": "c"},
    "an unknown role": {"messages": [{"role": "human", "content": "q"}, *CHAT["messages"]]},
    "a conversation without an answer": {"messages": CHAT["messages"][:1]},
    "no messages at all": {"messages": []},
    "another format than before": CHAT,
}


@pytest.mark.parametrize("record", REFUSED.values(), ids=REFUSED)
def test_what_would_fail_on_the_gpu_is_refused_before(tmp_path: Path, tokenizer: Tokenizer, record: Any) -> None:
    first = {"prompt": "p", "completion": "c"} if record is CHAT or "prompt" in record else CHAT
    with pytest.raises(InvalidRecordsError) as raised:
        run(tmp_path, tokenizer, f"{json.dumps(first)}\n{json.dumps(record)}\n")
    assert (raised.value.file, raised.value.line) == ("a.jsonl", 2)


def test_packing_lowers_the_batch_by_as_much_as_a_pack_holds() -> None:
    assert fit_batch(64, 1, replicas=4, samples_per_pack=4.0).packs_per_step * 4 == 64
