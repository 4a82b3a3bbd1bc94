"""Batches of the task: what is slept on, what is asked, what is scored."""

from __future__ import annotations

from random import Random

import pytest
import torch

from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.train.tasks import IGNORED, Batch, find_task
from sleepmem.train.tasks.facts import STAGES, FactsTask
from sleepmem.train.tasks.facts_talk import NOTED

TASK = FactsTask()
CHAT = ChatTokens(TASK.tokenizer())


def text_of(ids: torch.Tensor) -> str:
    detokenizer = CHAT.detokenizer()
    return "".join(detokenizer.push(int(i)) for i in ids) + detokenizer.flush()


@pytest.mark.parametrize("stage", range(len(STAGES)))
def test_same_random_state_gives_the_same_batch(stage: int) -> None:
    one, other = (TASK.batch(Random("7:1"), 3, stage) for _ in range(2))
    assert torch.equal(one.question_ids, other.question_ids)
    assert torch.equal(one.labels, other.labels)
    for (a, m), (b, n) in zip(one.windows, other.windows, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(m, n)


@pytest.mark.parametrize("stage", range(len(STAGES)))
def test_windows_fit_and_no_value_stands_in_its_question(stage: int) -> None:
    batch = TASK.batch(Random(stage), 2, stage)
    assert all(ids.shape[1] <= TASK.window for ids, _ in batch.windows)
    answers = batch.labels[batch.answer_at]
    before_answer = [
        row[: int(place)]
        for row, place in zip(
            batch.question_ids.flatten(0, 1)[batch.answer_at.flatten(0, 1).any(-1)],
            batch.answer_at.flatten(0, 1).int().argmax(-1)[batch.answer_at.flatten(0, 1).any(-1)],
            strict=True,
        )
    ]
    for answer, read in zip(answers, before_answer, strict=True):
        last_question = text_of(read[-14:]).rsplit(NOTED, 1)[-1]
        assert text_of(answer[None]) not in last_question


def told_anywhere(batch: Batch, row: int) -> set[int]:
    return {int(i) for ids, mask in batch.windows for i in ids[row][mask[row]]}


def test_held_out_answers_were_told_in_the_same_context() -> None:
    batch = TASK.held_out(Random(3), 4)
    assert len(batch.windows) == 8
    for row in range(4):
        answers = batch.labels[row][batch.answer_at[row]]
        assert len(answers) == TASK.n_questions
        assert {int(a) for a in answers} <= told_anywhere(batch, row)


def test_labels_are_the_next_ids_of_the_reply() -> None:
    batch = TASK.held_out(Random(3), 2)
    ids, labels = batch.question_ids, batch.labels
    inside = labels[..., :-1] != IGNORED
    following = ids[..., 1:]
    real = inside & (labels[..., 1:] != IGNORED)  # the last label closes the message
    assert torch.equal(labels[..., :-1][real], following[real])
    assert set(labels[..., :][labels != IGNORED].tolist()) >= {CHAT.end}


def test_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="facts"):
        find_task("nothing")
