"""Messages to token ids and back.

    <|user|> text<|end|><|assistant|> text<|end|>

Only the borders are special ids. What looks like one inside a text is read as plain characters,
so nobody can forge a message. A space is put before every text, since the vocabulary knows words
by the space before them, and taken away again.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from sleepmem.types import Message, Role

PAD, END = "<|pad|>", "<|end|>"
ROLE_TOKENS = {role: f"<|{role.value}|>" for role in Role}
SPECIAL_TOKENS = (PAD, END, *ROLE_TOKENS.values())

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|> ' + message['content'] + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


class ChatTokens:
    """A tokenizer and the grammar of a conversation."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = True  # a typed "<|end|>" is text
        self._tokenizer = tokenizer
        self.end = self._special(END)
        self.pad = self._special(PAD)
        self._roles = {role: self._special(token) for role, token in ROLE_TOKENS.items()}
        self._bytes = _byte_table(tokenizer)

    def _special(self, token: str) -> int:
        token_id = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise ValueError(f"the tokenizer has no {token}")
        return int(token_id)

    def text_ids(self, text: str) -> list[int]:
        """Return the ids of a text without borders, as it stands inside a message."""
        return list(self._tokenizer.encode(" " + text, add_special_tokens=False).ids)

    def encode(
        self, message: Message, *, tools: Sequence[dict[str, Any]] | None = None
    ) -> list[int]:
        """Return the ids of one message; tool calls and schemas are read as JSON lines."""
        lines = [message.content]
        if message.role is Role.SYSTEM and tools:
            lines += [json.dumps(tool, ensure_ascii=False, sort_keys=True) for tool in tools]
        lines += [call.model_dump_json() for call in message.tool_calls]
        return [self._roles[message.role], *self.text_ids("\n".join(lines)), self.end]

    def reply_prefix(self) -> list[int]:
        return [self._roles[Role.ASSISTANT]]

    def detokenizer(self) -> ByteDetokenizer:
        return ByteDetokenizer(self._bytes)


class ByteDetokenizer:
    """Turns ids into text, whole UTF-8 characters at a time; special ids are silent."""

    def __init__(self, table: Sequence[bytes]) -> None:
        self._table = table
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at_start = True

    def push(self, token_id: int) -> str:
        data = self._table[token_id]
        if self._at_start and data:
            data, self._at_start = data.removeprefix(b" "), False
        return self._decoder.decode(data)

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


def _byte_table(tokenizer: Tokenizer) -> list[bytes]:
    """Return the bytes that each id stands for, none for special ids."""
    to_byte = {character: byte for byte, character in byte_alphabet().items()}
    table = []
    for token_id in range(tokenizer.get_vocab_size()):
        token = tokenizer.id_to_token(token_id) or ""
        is_special = token in SPECIAL_TOKENS
        table.append(b"" if is_special else bytes(to_byte[character] for character in token))
    return table


def byte_alphabet() -> dict[int, str]:
    """Return the printable character that byte-level tokenizers write for each byte."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {
        byte: chr(256 + i) for i, byte in enumerate(others)
    }
