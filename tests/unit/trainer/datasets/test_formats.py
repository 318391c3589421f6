import json
from typing import Any

import pytest

from customizer_contract.errors import CustomizerError
from customizer_trainer.datasets.conversations import Conversation
from customizer_trainer.datasets.formats import Parser, Text, detect
from customizer_trainer.datasets.problems import KEPT, Defect, InvalidRecordsError, Problems
from customizer_trainer.datasets.prompts import Columns, Pair, parse_template

USER = {"role": "user", "content": "Weather in Oslo?"}
ASSISTANT = {"role": "assistant", "content": "Rain."}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}


def parse(record: dict[str, Any], columns: Columns = Columns()) -> Any:  # noqa: B008
    found = detect(record, columns)
    return Parser(columns, None if isinstance(found, Defect) else found).parse(record)


def chat(*messages: object, **more: object) -> dict[str, Any]:
    return {"messages": list(messages), **more}


ACCEPTED = {
    "a pair": ({"prompt": "p", "completion": "c"}, Pair("p", "c")),
    "a pair with more columns": ({"prompt": "p", "completion": "c", "id": 7}, Pair("p", "c")),
    "a conversation": (chat(USER, ASSISTANT), Conversation([USER, ASSISTANT])),
    "no content beside a tool call": (
        chat(USER, CALLING),
        Conversation([USER, {**CALLING, "content": ""}]),
    ),
    "a tool's answer with the id of its call": (
        chat(USER, CALLING, {"role": "tool", "content": "rain", "tool_call_id": "1"}, ASSISTANT),
        Conversation(
            [USER, {**CALLING, "content": ""}, {"role": "tool", "content": "rain", "tool_call_id": "1"}, ASSISTANT]
        ),
    ),
    "tools": (chat(USER, ASSISTANT, tools=[TOOL]), Conversation([USER, ASSISTANT], [TOOL])),
    "tools as JSON text": (chat(USER, ASSISTANT, tools=json.dumps([TOOL])), Conversation([USER, ASSISTANT], [TOOL])),
    "nulls for what is absent": (
        chat({**USER, "name": None, "tool_calls": None}, ASSISTANT),
        Conversation([USER, ASSISTANT]),
    ),
    "text alone": ({"text": "t", "id": 7}, Text("t")),
    "a text whose label is null": ({"text": "t", "label": None}, Text("t")),
    "no tools": (chat(USER, ASSISTANT, tools=None), Conversation([USER, ASSISTANT])),
}


@pytest.mark.parametrize(("record", "expected"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_records_are_understood(record: dict[str, Any], expected: object) -> None:
    assert parse(record) == expected


def test_arguments_as_json_text_become_an_object_so_that_templates_do_not_encode_twice() -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    parsed = parse(chat(USER, {"role": "assistant", "tool_calls": [call]}))
    assert parsed.messages[1]["tool_calls"] == [CALL]


REFUSED = {
    "a missing column": ({"prompt": "p"}, "missing-field", "completion"),
    "a column that is no text": ({"prompt": "p", "completion": 7}, "wrong-type", "completion"),
    "an empty completion": ({"prompt": "p", "completion": ""}, "empty-text", "completion"),
    "neither form": ({"body": "t"}, "unknown-format", None),
    "a text and a label without a template": ({"text": "t", "label": "l"}, "unknown-format", None),
    "a text and a label that is a number": ({"text": "t", "label": 1}, "unknown-format", None),
    "a text and labels in a list": ({"text": "t", "Label_ids": [1]}, "unknown-format", None),
    "a text and its class": ({"text": "t", "class": 0}, "unknown-format", None),
    "a text and a target": ({"text": "t", "target": 0.5}, "unknown-format", None),
    "an empty text": ({"text": ""}, "empty-text", "text"),
    "both forms": (chat(USER, ASSISTANT, prompt="p"), "ambiguous-record", "messages"),
    "no messages": (chat(), "wrong-type", "messages"),
    "nobody answers": (chat(USER), "no-assistant", "messages"),
    "an unknown role": (chat({"role": "human", "content": "x"}, ASSISTANT), "unknown-role", "messages[0].role"),
    "an unknown field": (chat({**USER, "weight": 1}, ASSISTANT), "unknown-field", "messages[0].weight"),
    "content in parts": (chat({"role": "user", "content": []}, ASSISTANT), "wrong-type", "messages[0].content"),
    "no content and no call": (chat(USER, {"role": "assistant"}), "wrong-type", "messages[1].content"),
    "a user who calls tools": (
        chat({**USER, "tool_calls": [CALL]}, ASSISTANT),
        "unknown-field",
        "messages[0].tool_calls",
    ),
    "arguments that are no object": (
        chat(USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "oslo"}}]}),
        "wrong-type",
        "messages[1].tool_calls[0].function.arguments",
    ),
    "half of a surrogate pair in arguments as JSON text": (
        chat(USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": "\\ud83d"}'}}]}),
        "no-text",
        "messages[1].tool_calls[0].function.arguments.a",
    ),
    "half of a surrogate pair in tools as JSON text": (
        chat(USER, ASSISTANT, tools='[{"function": {"name": "\\udc00"}}]'),
        "no-text",
        "tools[0].function.name",
    ),
    "a tool without a name": (chat(USER, ASSISTANT, tools=[{"function": {}}]), "wrong-type", "tools[0].function.name"),
}


@pytest.mark.parametrize(("record", "kind", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_records_are_refused_with_the_field_that_is_wrong(record: dict[str, Any], kind: str, field: str | None) -> None:
    defects = parse(record)
    assert isinstance(defects, list)
    assert (defects[0].kind, defects[0].field) == (kind, field)


def test_all_records_have_one_format() -> None:
    parser = Parser(Columns(), "prompt-completion")
    (defect,) = parser.parse(chat(USER, ASSISTANT))
    assert isinstance(defect, Defect)
    assert defect.kind == "mixed-formats"
    assert defect.message.startswith("a chat record among prompt-completion records")


def test_a_template_names_two_columns_of_which_the_last_is_the_completion() -> None:
    columns = parse_template("{question} {answer}")
    assert columns == Columns("question", "answer")
    assert parse({"question": "q", "answer": "a"}, columns) == Pair("q", "a")


@pytest.mark.parametrize("template", ["{question}", "{a} {b} {c}", "{a} {a}", "Q: {a} A: {b}", ""])
def test_a_template_of_another_form_is_refused(template: str) -> None:
    with pytest.raises(CustomizerError, match="name two columns"):
        parse_template(template)


def test_problems_name_the_first_and_count_the_rest() -> None:
    problems = Problems()
    for line in range(3, 3 + KEPT + 5):
        problems.add("train.jsonl", "line", line, Defect("missing-field", "completion", "expected a string"))
    problems.add("train.jsonl", "line", 99, Defect("invalid-json", None, "not valid JSON"))
    with pytest.raises(InvalidRecordsError) as raised:
        problems.raise_if_any()
    error = raised.value
    assert (error.file, error.line, error.field) == ("train.jsonl", 3, "completion")
    assert str(error) == (
        "train.jsonl, line 3, field completion: expected a string."
        " And 25 more: in all 25 missing-field, 1 invalid-json."
    )
    assert len(problems.first) == KEPT
