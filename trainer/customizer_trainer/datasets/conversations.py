"""Chat records: messages with roles, tool calls and tools."""

import json
from dataclasses import dataclass
from typing import Any

from customizer_trainer.datasets.characters import find_no_text
from customizer_trainer.datasets.problems import Defect

ROLES = ("system", "user", "assistant", "tool")
_MESSAGE_FIELDS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages and tools as a chat template takes them; arguments of tool calls are objects, never JSON text."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None


def parse_conversation(record: dict[str, Any]) -> Conversation | list[Defect]:
    """Returns the conversation, or all that is wrong with the record. Other columns are ignored."""
    messages = record.get("messages")
    if not isinstance(messages, list) or not messages:
        return [Defect("wrong-type", "messages", "expected a non-empty array of messages")]
    defects: list[Defect] = []
    parsed = [_message(message, f"messages[{index}]", defects) for index, message in enumerate(messages)]
    tools = _tools(record.get("tools"), defects)
    if not defects and not any(message["role"] == "assistant" for message in parsed):
        defects.append(Defect("no-assistant", "messages", "expected at least one message of role assistant to learn"))
    return defects or Conversation(parsed, tools)


def _message(message: object, at: str, defects: list[Defect]) -> dict[str, Any]:
    if not isinstance(message, dict):
        defects.append(Defect("wrong-type", at, "expected an object with role and content"))
        return {}
    # Tables and libraries write what is absent as null.
    message = {name: value for name, value in message.items() if value is not None}
    for name in sorted(message.keys() - _MESSAGE_FIELDS):
        allowed = ", ".join(sorted(_MESSAGE_FIELDS))
        defects.append(Defect("unknown-field", f"{at}.{name}", f"unknown field; a message has {allowed}"))
    role = message.get("role")
    if role not in ROLES:
        defects.append(Defect("unknown-role", f"{at}.role", f"expected one of {', '.join(ROLES)}, found {role!r}"))
    calls = message.get("tool_calls")
    if calls is not None and role != "assistant":
        defects.append(Defect("unknown-field", f"{at}.tool_calls", "only messages of role assistant call tools"))
    content = message.get("content")
    if not isinstance(content, str) and not (content is None and calls):
        hint = "text parts must be joined to one string" if isinstance(content, list) else "null only beside tool_calls"
        defects.append(Defect("wrong-type", f"{at}.content", f"expected a string; {hint}"))
    defects += [
        Defect("wrong-type", f"{at}.{name}", "expected a string")
        for name in ("name", "tool_call_id")
        if name in message and not isinstance(message[name], str)
    ]
    parsed = {**message, "content": content or ""}
    if calls is not None:
        parsed["tool_calls"] = _calls(calls, f"{at}.tool_calls", defects)
    return parsed


def _calls(calls: object, at: str, defects: list[Defect]) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        defects.append(Defect("wrong-type", at, "expected an array of tool calls"))
        return []
    parsed = []
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or call.get("type", "function") != "function":
            expected = 'expected {"type": "function", "function": {"name", "arguments"}}'
            defects.append(Defect("wrong-type", f"{at}[{index}]", expected))
            continue
        if not isinstance(function.get("name"), str):
            defects.append(Defect("wrong-type", f"{at}[{index}].function.name", "expected a string"))
        arguments = _arguments(function.get("arguments", {}))
        if arguments is None:
            defects.append(
                Defect("wrong-type", f"{at}[{index}].function.arguments", "expected an object, or one as JSON text")
            )
        elif (no_text := find_no_text(arguments, f"{at}[{index}].function.arguments")) is not None:
            defects.append(no_text)
        parsed.append({**call, "type": "function", "function": {**function, "arguments": arguments}})
    return parsed


def _arguments(arguments: object) -> dict[str, Any] | None:
    """Returns the arguments as an object: templates render them themselves, and would encode a string twice."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (json.JSONDecodeError, RecursionError):
            return None
    return arguments if isinstance(arguments, dict) else None


def _tools(tools: object, defects: list[Defect]) -> list[dict[str, Any]] | None:
    if isinstance(tools, str):
        try:
            tools = json.loads(tools or "null")
        except (json.JSONDecodeError, RecursionError):
            tools = {}
    if tools is None or tools == []:
        return None
    if not isinstance(tools, list):
        defects.append(Defect("wrong-type", "tools", "expected an array of tools, or one as JSON text"))
        return None
    if (no_text := find_no_text(tools, "tools")) is not None:
        defects.append(no_text)
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type", "function") != "function":
            expected = 'expected {"type": "function", "function": {"name", "description", "parameters"}}'
            defects.append(Defect("wrong-type", f"tools[{index}]", expected))
            continue
        if not isinstance(function.get("name"), str):
            defects.append(Defect("wrong-type", f"tools[{index}].function.name", "expected a string"))
        if not isinstance(function.get("parameters", {}), dict):
            defects.append(Defect("wrong-type", f"tools[{index}].function.parameters", "expected a JSON schema"))
    return tools
