"""How much of a life comes back out of fast weights alone, by passes and by sleep age?

Many lives like the demo's, straight on the model: told, slept on, asked with an empty KV cache.
Beside the agent's own fast weights stand a newborn's and those of one that was told other values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean

from sleepmem.bench import DEFAULT_PASSES, Report, Row
from sleepmem.model.checkpoint import load_checkpoint
from sleepmem.model.native import FastWeights, NativeSleepLM
from sleepmem.train.tasks.facts_life import N_EPISODES, Told, draw_life
from sleepmem.train.tasks.facts_talk import NOTED
from sleepmem.types import Message, Role, Sampling

N_LIVES = 20
PASSES = (1, 2, 4, 8)
MAX_TOKENS = 8  # of an answer; the longest right one has three
GOAL = 0.80


def recall(model: str, seed: int, report: Report) -> list[Row]:
    """Return shares of right answers over `N_LIVES` lives, with the worst and best life."""
    lm = load_checkpoint(model)
    lives = [draw_life(1000 * seed + number) for number in range(N_LIVES)]
    own: dict[int, list[list[bool]]] = {passes: [] for passes in PASSES}
    other, blank = [], []
    for number, life in enumerate(lives):
        report("living and asking", number / N_LIVES)
        for passes in PASSES:
            weights = _lived(lm, life, lambda told: told.statement, passes)
            own[passes].append(_asked(lm, weights, life))
        weights = _lived(lm, life, lambda told: told.other_statement, DEFAULT_PASSES)
        other.append(_asked(lm, weights, life))
        blank.append(_asked(lm, lm.blank(), life))
    rows = [_row("recall.own", own[DEFAULT_PASSES], goal=GOAL)]
    rows += [_row("recall.blank", blank), _row("recall.other", other)]
    rows += [_row(f"recall.own_passes{passes}", own[passes]) for passes in PASSES]
    for age in range(1, N_EPISODES + 1):
        right = [
            [
                is_right
                for is_right, told in zip(answers, life, strict=True)
                if told.sleep_age == age
            ]
            for answers, life in zip(own[DEFAULT_PASSES], lives, strict=True)
        ]
        rows.append(_row(f"recall.age{age}", right))
    return rows


def _row(name: str, lives: Sequence[Sequence[bool]], goal: float | None = None) -> Row:
    shares = [mean(answers) for answers in lives]
    value = mean(shares)
    return Row(
        name,
        value,
        "share right",
        goal=goal,
        holds=None if goal is None else value >= goal,
        lowest=min(shares),
        highest=max(shares),
    )


def _lived(
    lm: NativeSleepLM, life: Sequence[Told], worded: Callable[[Told], str], passes: int
) -> FastWeights:
    """Return the fast weights after every episode was told, noted and slept on."""
    noted = lm.encode(Message(role=Role.ASSISTANT, content=NOTED))
    weights = lm.blank()
    for episode in range(1, N_EPISODES + 1):
        ids: list[int] = []
        for told in life:
            if told.episode == episode:
                ids += lm.encode(Message(role=Role.USER, content=worded(told))) + noted
        *_, last = lm.sleep(weights, ids, passes)
        assert last.weights is not None
        weights = last.weights
    return weights


def _asked(lm: NativeSleepLM, weights: FastWeights, life: Sequence[Told]) -> list[bool]:
    return [told.is_answered_by(_answer(lm, weights, told.question)) for told in life]


def _answer(lm: NativeSleepLM, weights: FastWeights, question: str) -> str:
    """Return the greedy reply to a question, read with an empty KV cache."""
    state = lm.wake(weights)
    lm.read(state, lm.encode(Message(role=Role.USER, content=question)) + lm.reply_prefix())
    detokenizer = lm.detokenizer()
    said = ""
    for _ in range(MAX_TOKENS):
        [token_id] = lm.next([state], [Sampling()])
        if token_id in lm.stop_ids:
            break
        said += detokenizer.push(token_id)
    return said + detokenizer.flush()
