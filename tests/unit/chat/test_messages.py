from __future__ import annotations

from typing import Any

import pytest
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from sleepmem.chat.messages import Resolved, lived, resolve
from sleepmem.errors import InvalidMessage
from sleepmem.types import Message, Role, ToolCall


def reply(text: str, agent_id: Any = "ana", node_id: Any = "nd_1") -> AIMessage:
    ours = {"agent_id": agent_id, "node_id": node_id}
    return AIMessage(text, response_metadata={"sleepmem": ours})


def contents(incoming: Resolved) -> list[str]:
    return [message.content for message in incoming.new]


def test_whole_list_is_new_without_a_reply_of_the_agent() -> None:
    incoming = resolve([HumanMessage("a"), AIMessage("b"), HumanMessage("c")], "ana")
    assert contents(incoming) == ["a", "b", "c"]
    assert (incoming.system, incoming.node_id) == (None, None)
    assert [message.role for message in incoming.new] == [Role.USER, Role.ASSISTANT, Role.USER]


def test_new_is_what_follows_the_last_reply_of_the_agent() -> None:
    told = [HumanMessage("a"), reply("b"), HumanMessage("c"), reply("d", node_id="nd_2")]
    incoming = resolve([*told, HumanMessage("e"), HumanMessage("f")], "ana")
    assert contents(incoming) == ["e", "f"]
    assert incoming.node_id == "nd_2"


def test_messages_of_others_after_the_reply_are_new_too() -> None:
    told = [reply("b"), HumanMessage("c"), reply("d", agent_id="bob"), HumanMessage("e")]
    assert contents(resolve(told, "ana")) == ["c", "d", "e"]


@pytest.mark.parametrize("agent_id", ["bob", None])
def test_reply_of_another_agent_is_a_message_like_any_other(agent_id: str | None) -> None:
    incoming = resolve([HumanMessage("a"), reply("b"), HumanMessage("c")], agent_id)
    assert contents(incoming) == ["a", "b", "c"]
    assert incoming.node_id is None


@pytest.mark.parametrize("metadata", [{"sleepmem": None}, {"sleepmem": {"agent_id": "ana"}}, {}])
def test_reply_without_a_node_is_a_message_like_any_other(metadata: dict[str, Any]) -> None:
    told = [HumanMessage("a"), AIMessage("b", response_metadata=metadata), HumanMessage("c")]
    assert contents(resolve(told, "ana")) == ["a", "b", "c"]


def test_node_that_is_not_text_is_not_believed() -> None:
    told = [reply("b", node_id={"$": 1}), HumanMessage("c")]
    assert resolve(told, "ana").node_id is None


def test_system_messages_are_the_prompt_wherever_they_stand() -> None:
    told = [SystemMessage("Be short."), HumanMessage("a"), SystemMessage("Be kind.")]
    incoming = resolve(told, "ana")
    assert incoming.system == "Be short.\n\nBe kind."
    assert contents(incoming) == ["a"]


@pytest.mark.parametrize(
    "told",
    [
        [],
        [SystemMessage("Be short.")],
        [HumanMessage("a"), reply("b")],
        [HumanMessage("a"), AIMessage("b")],
    ],
)
def test_list_with_nothing_to_answer_is_refused(told: list[BaseMessage]) -> None:
    with pytest.raises(ModelInvalidRequestError) as caught:
        resolve(told, "ana")
    assert isinstance(caught.value, InvalidMessage)
    assert caught.value.hint


def test_text_blocks_are_joined() -> None:
    blocks = ["a", {"type": "text", "text": "b", "index": 0}]
    assert lived(HumanMessage(blocks)) == Message(role=Role.USER, content="ab")


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": "x"},
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "tool_call", "name": "f"},
        {"type": "text"},
        {},
    ],
)
def test_block_that_is_not_text_is_refused_and_never_dropped(block: dict[str, Any]) -> None:
    with pytest.raises(ModelInvalidRequestError, match="block of type"):
        lived(HumanMessage([{"type": "text", "text": "look"}, block]))


def test_tool_calls_are_lived_once() -> None:
    call = {"name": "f", "args": {"x": 1}, "id": "c1"}
    message = AIMessage([{"type": "tool_call", **call}], tool_calls=[call])
    asked = lived(message)
    assert asked.content == ""
    assert asked.tool_calls == (ToolCall(id="c1", name="f", arguments='{"x": 1}'),)
    answer = lived(ToolMessage("2", tool_call_id="c1"))
    assert (answer.role, answer.tool_call_id) == (Role.TOOL, "c1")


def test_chat_message_speaks_in_its_role() -> None:
    assert lived(ChatMessage("a", role="user")).role is Role.USER


@pytest.mark.parametrize(
    "message", [ChatMessage("a", role="robot"), FunctionMessage("a", name="f")]
)
def test_unknown_speaker_is_refused(message: BaseMessage) -> None:
    with pytest.raises(ModelInvalidRequestError, match="nobody known"):
        lived(message)
