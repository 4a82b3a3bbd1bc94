"""A life straight on the model, as the runtime would live it: told, slept on, asked."""

from __future__ import annotations

from collections.abc import Sequence

from sleepmem.model.native import FastWeights, NativeSleepLM
from sleepmem.train.dialogues.life import Line
from sleepmem.types import Message, Role, Sampling

MAX_TOKENS = 48  # of an answer


def living(
    lm: NativeSleepLM,
    episodes: Sequence[Sequence[Line]],
    passes: int,
    weights: FastWeights | None = None,
) -> FastWeights:
    """Return the fast weights after every episode was slept on, a newborn's if none are given."""
    weights = lm.blank() if weights is None else weights
    for lines in episodes:
        *_, last = lm.sleep(weights, ids_of(lm, lines), passes)
        assert last.weights is not None
        weights = last.weights
    return weights


def ids_of(lm: NativeSleepLM, lines: Sequence[Line]) -> list[int]:
    """Return the ids of messages."""
    return [i for line in lines for i in lm.encode(Message(role=line.role, content=line.text))]


def answered(lm: NativeSleepLM, weights: FastWeights, question: str) -> str:
    """Return the greedy reply to a question, read with an empty KV cache."""
    state = lm.wake(weights)
    lm.read(state, ids_of(lm, [Line(Role.USER, question)]) + lm.reply_prefix())
    detokenizer = lm.detokenizer()
    said = ""
    for _ in range(MAX_TOKENS):
        [token_id] = lm.next([state], [Sampling()])
        if token_id in lm.stop_ids:
            break
        said += detokenizer.push(token_id)
    return said + detokenizer.flush()
