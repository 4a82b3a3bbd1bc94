"""What may come in: texts and messages, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from sleepmem.errors import InvalidMessage
from sleepmem.types import LoggedMessage, Message, Role

Incoming = str | Message | Mapping[str, Any] | Sequence[Message | Mapping[str, Any]]


def checked_messages(incoming: Incoming) -> tuple[Message, ...]:
    """Return the messages; a text is what the user said.

    Raises:
        InvalidMessage: none at all, or one that is empty, of an unknown role, or not text.
    """
    if isinstance(incoming, str):
        incoming = Message(role=Role.USER, content=incoming)
    if isinstance(incoming, Message | Mapping):
        incoming = (incoming,)
    if not isinstance(incoming, Sequence) or isinstance(incoming, bytes):
        raise InvalidMessage(
            f"a message is text, not {type(incoming).__name__}",
            hint="Give a text, a Message, or a list of Messages.",
        )
    if not incoming:
        raise InvalidMessage("there is no message", hint="Give at least one message.")
    return tuple(_checked(message) for message in incoming)


def checked_text(what: str, text: str) -> str:
    """Return `text` if every log and every tokenizer can hold it.

    Raises:
        InvalidMessage: it is none, or there is a NUL or half a surrogate pair in it.
    """
    if not isinstance(text, str):
        raise InvalidMessage(f"{what} is text, not {type(text).__name__}", hint="Give a text.")
    if "\0" in text:
        raise InvalidMessage(
            f"{what} holds a NUL character, which no log can keep", hint="Remove it and try again."
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidMessage(
            f"{what} holds half a surrogate pair, which is not text",
            hint="Decode the text with errors='replace'.",
        ) from None
    return text


def _checked(given: Any) -> Message:
    try:
        # also an instance is looked at again: `model_construct` checks nothing
        if isinstance(given, Message):
            given = {name: getattr(given, name) for name in Message.model_fields}
        message: Message = Message.model_validate(given)
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "message"
        raise InvalidMessage(
            f"{place}: {first['msg']}",
            hint=f"Roles are {', '.join(Role)}; content is text.",
        ) from problem
    texts = [message.content, message.tool_call_id or ""]
    texts += [part for call in message.tool_calls for part in (call.id, call.name, call.arguments)]
    for text in texts:
        checked_text(f"the {message.role} message", text)
    # a tool may have nothing to say, and a call says enough
    may_be_empty = message.role is Role.TOOL or message.tool_calls
    if not message.content.strip() and not may_be_empty:
        raise InvalidMessage(
            f"the {message.role} message is empty", hint="Say something; spaces do not count."
        )
    return message


def open_calls(pending: frozenset[str], messages: Sequence[Message]) -> frozenset[str]:
    """Return the ids of tool calls that wait for an answer after `messages`.

    Only tool messages answer; a user message or another assistant message gives them up.
    """
    for message in messages:
        if message.role is Role.ASSISTANT:
            pending = frozenset(call.id for call in message.tool_calls)
        elif message.role is Role.USER:
            pending = frozenset()
        elif message.role is Role.TOOL:
            answered = {message.tool_call_id} if message.tool_call_id else pending
            pending = pending - answered
    return pending


def last_call(messages: Sequence[LoggedMessage]) -> LoggedMessage | None:
    """Return the message whose tool calls still wait for an answer after `messages`."""
    if not open_calls(frozenset(), messages):
        return None
    return next(message for message in reversed(messages) if message.role is Role.ASSISTANT)
