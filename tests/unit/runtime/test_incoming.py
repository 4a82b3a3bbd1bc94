from __future__ import annotations

from typing import Any

import pytest

from sleepmem.errors import InvalidMessage
from sleepmem.runtime.incoming import checked_messages, last_call, open_calls
from sleepmem.types import LoggedMessage, Message, Role, ToolCall


@pytest.mark.parametrize(
    ("incoming", "says"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ([], "no message"),
        ("a\0b", "NUL"),
        ("a\ud800b", "surrogate"),
        (7, "not int"),
        (b"bytes", "not bytes"),
        ([7], "message"),
        ({"role": "boss", "content": "x"}, "role"),
        ({"role": "user", "content": 7}, "content"),
        ({"role": "user"}, "content"),
        (Message.model_construct(role="boss", content="x"), "role"),
        (
            [Message(role=Role.USER, content="x"), Message(role=Role.ASSISTANT, content=" ")],
            "empty",
        ),
    ],
)
def test_bad_message_is_refused_with_a_hint(incoming: Any, says: str) -> None:
    with pytest.raises(InvalidMessage, match=says) as caught:
        checked_messages(incoming)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_text_is_what_the_user_says() -> None:
    assert checked_messages("hi") == (Message(role=Role.USER, content="hi"),)
    assert checked_messages({"role": "tool", "content": ""})[0].role is Role.TOOL


def call(*ids: str) -> Message:
    calls = tuple(ToolCall(id=i, name="look") for i in ids)
    return Message(role=Role.ASSISTANT, content="", tool_calls=calls)


def answered(call_id: str | None) -> Message:
    return Message(role=Role.TOOL, content="42", tool_call_id=call_id)


def test_call_is_open_until_answered() -> None:
    user = Message(role=Role.USER, content="x")
    assert checked_messages([call("a", "b")])
    assert open_calls(frozenset(), [call("a", "b")]) == {"a", "b"}
    assert open_calls(frozenset(), [call("a", "b"), answered("a")]) == {"b"}
    assert open_calls(frozenset({"b"}), [answered("b")]) == frozenset()
    assert open_calls(frozenset(), [call("a", "b"), answered(None)]) == frozenset()
    assert open_calls(frozenset(), [call("a"), user]) == frozenset()


def test_last_call_is_the_message_that_waits() -> None:
    logged = [
        LoggedMessage(**message.model_dump(), token_ids=(n,))
        for n, message in enumerate([call("a"), answered("a"), call("b", "c"), answered("c")])
    ]
    found = last_call(logged)
    assert found is not None
    assert found.token_ids == (2,)
    assert last_call(logged[:2]) is None
    assert last_call([]) is None
