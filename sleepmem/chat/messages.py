"""LangChain's messages as ours, and what of a re-sent history is new. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from sleepmem.chat.errors import RefusedMessage
from sleepmem.types import Message, Role, ToolCall, Value

METADATA_KEY = "sleepmem"  # ours inside response_metadata

_ROLES: tuple[tuple[type[BaseMessage], Role], ...] = (
    (HumanMessage, Role.USER),
    (AIMessage, Role.ASSISTANT),
    (SystemMessage, Role.SYSTEM),
    (ToolMessage, Role.TOOL),
)


class Resolved(Value):
    """What a call brings to a thread.

    Attributes:
        system: the system messages, joined; None leaves the thread's prompt as it is.
        node_id: the position after which `new` begins; None if the list names none.
        new: at least one message; the last one is to be answered.
    """

    system: str | None
    node_id: str | None
    new: tuple[Message, ...]


def resolve(messages: Sequence[BaseMessage], agent_id: str | None) -> Resolved:
    """Return what is new in a list that the caller sends again with every call.

    New is what follows the last reply of this very agent; a list without one is new as a whole.
    A reply of another agent is a message like any other.

    Raises:
        RefusedMessage: nothing is left to answer, or a message is not text.
    """
    system = "\n\n".join(_text(m) for m in messages if isinstance(m, SystemMessage))
    talk = [message for message in messages if not isinstance(message, SystemMessage)]
    node_id, begin = None, 0
    for place, message in enumerate(talk):
        if found := _node_of(message, agent_id):
            node_id, begin = found, place + 1
    new = tuple(lived(message) for message in talk[begin:])
    if not new or new[-1].role is Role.ASSISTANT:
        raise RefusedMessage(
            "the last message is an answer already" if talk else "there is no message to answer",
            hint="Send a list that ends with a human or tool message.",
        )
    return Resolved(system=system or None, node_id=node_id, new=new)


def lived(message: BaseMessage) -> Message:
    """Return the message as an agent lives it.

    Raises:
        RefusedMessage: it holds something other than text, or nobody known speaks.
    """
    calls: tuple[ToolCall, ...] = ()
    if isinstance(message, AIMessage):
        calls = tuple(
            ToolCall(id=call["id"] or "", name=call["name"], arguments=json.dumps(call["args"]))
            for call in message.tool_calls
        )
    return Message(
        role=_role(message),
        content=_text(message),
        tool_calls=calls,
        tool_call_id=message.tool_call_id if isinstance(message, ToolMessage) else None,
    )


def _node_of(message: BaseMessage, agent_id: str | None) -> str | None:
    """Return the node that a reply of this agent carries."""
    if agent_id is None or not isinstance(message, AIMessage):
        return None
    ours = message.response_metadata.get(METADATA_KEY)
    if not isinstance(ours, dict) or ours.get("agent_id") != agent_id:
        return None
    node_id = ours.get("node_id")
    return node_id if isinstance(node_id, str) else None


def _role(message: BaseMessage) -> Role:
    if isinstance(message, ChatMessage) and message.role in set(Role):
        return Role(message.role)
    for kind, role in _ROLES:
        if isinstance(message, kind):
            return role
    raise RefusedMessage(
        f"nobody known speaks in a {type(message).__name__}",
        hint=f"Roles are {', '.join(Role)}.",
    )


def _text(message: BaseMessage) -> str:
    content = message.content
    return content if isinstance(content, str) else "".join(_pieces(message, content))


def _pieces(message: BaseMessage, blocks: Sequence[str | dict[str, object]]) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, str):
            yield block
            continue
        kind, text = block.get("type"), block.get("text")
        if kind == "text" and isinstance(text, str):
            yield text
        # the same calls are in `tool_calls`, which is what is lived
        elif not (isinstance(message, AIMessage) and kind in ("tool_call", "tool_use")):
            raise RefusedMessage(
                f"a {type(message).__name__} holds a block of type {kind!r}",
                hint="Agents read text; put what matters into text blocks.",
            )
