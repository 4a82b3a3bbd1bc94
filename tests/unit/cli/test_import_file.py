from __future__ import annotations

import json

import pytest

from sleepmem.cli.import_file import read_messages, split_turns
from sleepmem.errors import ImportFileError
from sleepmem.types import Message, Role

USER = {"role": "user", "content": "My dog is called Rex."}
REPLY = {"role": "assistant", "content": "Noted."}


def lines(*objects: object) -> bytes:
    return "\n".join(json.dumps(found) for found in objects).encode()


@pytest.mark.parametrize(
    "data",
    [
        lines(USER, REPLY),
        lines(USER, REPLY) + b"\n\n",
        lines(USER, REPLY).replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + lines(USER, REPLY),
        json.dumps([USER, REPLY]).encode(),
        json.dumps([USER, REPLY], indent=2).encode(),
    ],
    ids=["lines", "blank lines", "crlf", "byte order mark", "array", "indented array"],
)
def test_file_gives_its_messages(data: bytes) -> None:
    assert read_messages("f", data) == [
        Message.model_validate(USER),
        Message.model_validate(REPLY),
    ]


def test_line_separators_inside_a_string_end_no_line() -> None:
    data = json.dumps({"role": "user", "content": "a\u2028b\x85c"}, ensure_ascii=False).encode()
    assert [message.content for message in read_messages("f", data)] == ["a\u2028b\x85c"]


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b"", 1, "no message"),
        (b"[]", 1, "no message"),
        (lines(USER) + b"\n{", 2, "not JSON"),
        (lines(USER) + b"\n\n3", 3, "not an object"),
        (lines(USER, {"role": "user"}), 2, "content: Field required"),
        (lines({"role": "robot", "content": "x"}), 1, "role: "),
        (lines({"role": "user", "content": 3}), 1, "content: "),
        (lines({"role": "user", "content": " "}), 1, "message is empty"),
        (lines({**USER, "mood": "good"}), 1, "mood: "),
        (lines(USER) + b"\n\xff", 2, "not UTF-8"),
        (b"[\n" + lines(USER) + b",\n" + lines({"role": "user"}) + b"]", 3, "content"),
        (b"[\n" + lines(USER) + b"\n", 3, "not JSON"),
        (b"[" * 100_000, 1, "nested"),
        (lines(USER) + b"\n" + b'{"a":' * 100_000, 2, "nested"),
    ],
)
def test_unreadable_file_names_its_line(data: bytes, line: int, problem: str) -> None:
    with pytest.raises(ImportFileError) as caught:
        read_messages("talks.jsonl", data)
    assert (caught.value.path, caught.value.line) == ("talks.jsonl", line)
    assert str(caught.value).startswith(f"talks.jsonl, line {line}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_turn_begins_where_a_user_speaks_after_somebody_else() -> None:
    roles = [
        "user",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
        "assistant",
        "user",
    ]
    messages = [Message(role=Role(role), content="x") for role in roles]
    turns = [" ".join(message.role for message in turn) for turn in split_turns(messages)]
    assert turns == [
        "user user assistant tool assistant",
        "user assistant assistant",
        "user",
    ]


def test_no_messages_make_no_turn() -> None:
    assert list(split_turns([])) == []
