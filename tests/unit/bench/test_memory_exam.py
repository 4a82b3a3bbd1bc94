"""Exams, and the ways in which they are answered, against versions that do it life by life."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
import torch
from small_talkers import small_talker
from torch import Tensor

from sleepmem.bench.memory import exam as exams
from sleepmem.bench.memory.exam import AGES, Exam, aged, as_histories, mixed
from sleepmem.bench.memory.judged import Way, answer, blank, in_context, others, slept
from sleepmem.bench.memory.spoken import MAX_TOKENS, answered
from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.model.native import FastWeights, NativeSleepLM
from sleepmem.train.dialogues.life import Load
from sleepmem.train.dialogues.vocabulary import tokenizer
from sleepmem.train.tasks import IGNORED, Batch
from sleepmem.train.tasks.dialogue_rows import Row, text_ids, with_questions
from sleepmem.types import Message, Role, Sampling

GREEDY = Sampling()
USER_ASKS = Message(role=Role.USER, content="Where does Maria live?")
SMALL = Load(5, 3, ("single", "changed", "code"))


def drawn(n_lives: int = 3) -> Batch:
    [batch] = mixed(2, SMALL, n_lives).batches
    return batch


def of_life(batch: Batch, life: int) -> Batch:
    this = slice(life, life + 1)
    windows = tuple((ids[this], mask[this]) for ids, mask in batch.windows)
    return Batch(windows, batch.question_ids[this], batch.labels[this], batch.answer_at[this])


def firsts(way: Way, batch: Batch) -> list[int]:
    """Return what each answer begins with."""
    return answer(Exam([batch], []), way).first.tolist()


def statements(batch: Batch, life: int) -> list[str]:
    return [
        tokenizer().decode(ids[life][mask[life]].tolist(), skip_special_tokens=False)
        for ids, mask in batch.windows
    ]


def test_aged_facts_are_told_at_exactly_their_ages() -> None:
    exam = aged(0, 16, 5)
    [batch] = exam.batches
    assert len(batch.windows) == AGES[-1] == 64
    by_life = [[asked for asked in exam.asked if asked.life == life] for life in range(5)]
    for life, asked in enumerate(by_life):
        ages = [question.age for question in asked]
        assert len(ages) == len(set(ages)) == 16  # one fact to an episode
        assert {*AGES} <= {*ages}
        told = statements(batch, life)
        labels = [row[row != IGNORED].tolist() for row in batch.labels[life]]
        for question, label in zip(asked, labels, strict=True):
            assert question.kind == "single"
            value = tokenizer().decode(label).strip().removesuffix(".")
            assert value in told[len(told) - question.age]


def test_an_exam_is_asked_in_the_order_of_its_answers() -> None:
    exam = mixed(0, SMALL, 7)
    found = answer(exam, blank(small_talker()))
    assert len(found.right) == len(found.first) == len(exam.asked)
    assert exam.life.tolist() == sorted(exam.life.tolist())
    labels = [
        row[row != IGNORED].tolist()
        for batch in exam.batches
        for row, counts in zip(batch.labels.flatten(0, 1), batch.answer_at.flatten(0, 1),
                               strict=True)
        if counts.any()
    ]  # fmt: skip
    unknown = text_ids("I don't know.")
    assert [label[:-1] == unknown for label in labels] == [q.kind == "abstain" for q in exam.asked]
    assert [question.age for question in exam.asked if question.kind == "abstain"].count(0) > 0


@pytest.mark.parametrize(("n_lives", "sizes"), [(1, [1]), (4, [4]), (5, [2, 3]), (9, [3, 3, 3])])
def test_no_life_is_read_alone(
    monkeypatch: pytest.MonkeyPatch, n_lives: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(exams, "AT_ONCE", 4)
    exam = mixed(0, SMALL, n_lives)
    assert [len(batch.labels) for batch in exam.batches] == sizes
    assert {asked.life for asked in exam.asked} == {*range(n_lives)}


def test_the_same_seed_draws_the_same_exam() -> None:
    one, again, other = (mixed(seed, SMALL, 3) for seed in (0, 0, 1))
    assert torch.equal(one.batches[0].question_ids, again.batches[0].question_ids)
    assert one.asked == again.asked != other.asked


@pytest.mark.parametrize("n_tokens", [None, 1, 9, 10_000])
@pytest.mark.parametrize("n_sleeps", [None, 1, 2, 50])
def test_histories_are_the_last_tokens_of_a_life_without_padding(
    n_tokens: int | None, n_sleeps: int | None
) -> None:
    batch = drawn()
    assert not all(bool(mask.all()) for _, mask in batch.windows)
    histories = list(as_histories(batch, n_sleeps=n_sleeps, n_tokens=n_tokens))
    assert len(histories) == 3
    for life, history in enumerate(histories):
        read = [ids[life][mask[life]].tolist() for ids, mask in batch.windows]
        kept = read if n_sleeps is None else read[max(0, len(read) - n_sleeps) :]
        expected = list(chain(*kept))
        if n_tokens is not None:
            expected = expected[max(0, len(expected) - n_tokens) :]
        [(ids, mask)] = history.windows
        assert ids.tolist() == [expected]
        assert bool(mask.all())
        assert torch.equal(history.labels[0], batch.labels[life])


def test_a_limit_beyond_the_history_is_none() -> None:
    lm, batch = small_talker(layers="AA"), drawn()
    full = firsts(in_context(lm), batch)
    assert full == firsts(in_context(lm, n_tokens=10_000), batch)
    assert full == firsts(in_context(lm, n_sleeps=3), batch)
    assert full != firsts(in_context(lm, n_tokens=5), batch)
    alone = [first for life in range(3) for first in firsts(in_context(lm), of_life(batch, life))]
    assert full == alone


@torch.no_grad()
def test_context_is_one_forward_over_history_and_question() -> None:
    lm, batch = small_talker(layers="AA"), drawn()
    expected = []
    for life in range(3):
        read = torch.cat([ids[life][mask[life]] for ids, mask in batch.windows])
        for question, labels, counts in zip(
            batch.question_ids[life], batch.labels[life], batch.answer_at[life], strict=True
        ):
            if counts.any():
                logits = lm(torch.cat([read, question])[None]).logits[0, len(read) :]
                expected.append(int(logits[labels != IGNORED][0].argmax()))
    assert firsts(in_context(lm), batch) == expected


def test_others_answer_out_of_the_life_beside() -> None:
    lm, batch = small_talker(), drawn(2)
    windows = tuple((ids.flip(0), mask.flip(0)) for ids, mask in batch.windows)
    swapped = replace(batch, windows=windows)
    own = firsts(slept(lm, 2), batch)
    assert firsts(others(lm, 2), batch) == firsts(slept(lm, 2), swapped) != own
    assert firsts(others(lm, 2), swapped) == own
    with pytest.raises(ValueError, match="none beside"):
        others(lm, 2)(of_life(batch, 0))


def test_blank_knows_nothing_of_what_was_told() -> None:
    lm, batch = small_talker(), drawn()
    found = firsts(blank(lm), batch)
    windows = tuple((ids.flip(0), mask.flip(0)) for ids, mask in batch.windows)
    assert found == firsts(blank(lm), replace(batch, windows=windows))
    assert found == firsts(slept(lm, 4), replace(batch, windows=()))
    assert found != firsts(slept(lm, 4), batch)


def lived(lm: NativeSleepLM, batch: Batch, life: int, passes: int) -> FastWeights:
    weights = lm.blank()
    for ids, mask in batch.windows:
        *_, last = lm.sleep(weights, ids[life][mask[life]].tolist(), passes)
        assert last.weights is not None
        weights = last.weights
    return weights


def question_of(ids: Tensor, labels: Tensor) -> list[int]:
    """Return the ids up to where the answer begins."""
    return ids[: int((labels != IGNORED).int().argmax()) + 1].tolist()


@pytest.mark.parametrize("passes", [1, 4])
def test_right_is_what_an_agent_says_word_for_word(passes: int) -> None:
    """The labels are made of what was said, each of another length; then one of them is spoilt."""
    network, batch = small_talker(seed=5), drawn()
    lm = NativeSleepLM(network, ChatTokens(tokenizer()), "small")
    asked: list[list[Row]] = []
    for life in range(3):
        weights = lived(lm, batch, life, passes)
        asked.append([])
        for n, (ids, labels) in enumerate(
            zip(batch.question_ids[life], batch.labels[life], strict=True)
        ):
            before = question_of(ids, labels)
            state = lm.wake(weights)
            lm.read(state, before)
            said = [lm.next([state], [GREEDY])[0] for _ in range(1 + n % 7)]
            ignored = [IGNORED] * (len(before) - 1)
            asked[-1].append(Row([*before, *said[:-1]], ignored + said, 0))
    judged = with_questions(batch.windows, asked)
    assert len({row.labels[-1] for rows in asked for row in rows}) > 3
    assert bool(answer(Exam([judged], []), slept(network, passes)).right.all())
    spoilt = [
        [row if n % 2 else with_another_word(row, n) for n, row in enumerate(rows)]
        for rows in asked
    ]
    found = answer(Exam([with_questions(batch.windows, spoilt)], []), slept(network, passes))
    assert found.right.tolist() == [n % 2 == 1 for rows in asked for n in range(len(rows))]


def with_another_word(row: Row, n: int) -> Row:
    """Return the row with another word at one place of the answer."""
    n_ignored = row.labels.count(IGNORED)
    at = n_ignored + n % (len(row.labels) - n_ignored)
    ids, labels = list(row.ids), list(row.labels)
    labels[at] = 20 + (labels[at] + 1) % 100
    if at + 1 < len(ids):
        ids[at + 1] = labels[at]
    return Row(ids, labels, row.kind)


def test_what_is_said_is_the_text_of_greedy_ids() -> None:
    lm = NativeSleepLM(small_talker(), ChatTokens(tokenizer()), "small")
    weights = lived(lm, drawn(), 0, 1)
    state = lm.wake(weights)
    lm.read(state, [*lm.encode(USER_ASKS), *lm.reply_prefix()])
    detokenizer, text = lm.detokenizer(), ""
    for _ in range(MAX_TOKENS):
        [token_id] = lm.next([state], [GREEDY])
        if token_id in lm.stop_ids:
            break
        text += detokenizer.push(token_id)
    assert answered(lm, weights, USER_ASKS.content) == text + detokenizer.flush()


def test_every_right_answer_can_be_said() -> None:
    for batch in mixed(0, Load(16, 8), 25).batches:
        assert int((batch.labels != IGNORED).sum(-1).max()) <= MAX_TOKENS
