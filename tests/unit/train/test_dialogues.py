"""Batches of the task: what is slept on, what is asked, what is scored."""

from __future__ import annotations

import re
from random import Random

import pytest
import torch
from dialogue_reader import read_statements

from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.train.dialogues import relations, wordings
from sleepmem.train.dialogues.entities import Split
from sleepmem.train.dialogues.life import Line, Load
from sleepmem.train.dialogues.plots import KINDS
from sleepmem.train.tasks import IGNORED, Batch, TalkTask, find_task
from sleepmem.train.tasks.dialogues import ALIKE, STAGES, DialoguesTask, drawn_load
from sleepmem.types import Role

TASK = DialoguesTask()
CHAT = ChatTokens(TASK.tokenizer())


def text_of(ids: list[int]) -> str:
    detokenizer = CHAT.detokenizer()
    return "".join(detokenizer.push(i) for i in ids) + detokenizer.flush()


def messages(ids: torch.Tensor) -> list[str]:
    """Return the texts of messages that are closed."""
    texts, start = [], 0
    for place, token_id in enumerate(ids.tolist()):
        if token_id == CHAT.end:
            texts.append(text_of(ids[start:place].tolist()))
            start = place + 1
    return texts


def assert_same(one: Batch, other: Batch) -> None:
    assert torch.equal(one.question_ids, other.question_ids)
    assert torch.equal(one.labels, other.labels)
    for (a, m), (b, n) in zip(one.windows, other.windows, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(m, n)


def test_task_is_found_and_talks() -> None:
    task = find_task("dialogues")
    assert isinstance(task, TalkTask)
    assert task.n_stages == len(STAGES)
    assert task.vocab_size == task.tokenizer().get_vocab_size()


@pytest.mark.parametrize("stage", range(len(STAGES)))
def test_same_random_state_gives_the_same_batch_and_another_another(stage: int) -> None:
    one, other = (TASK.batch(Random("7:1"), 3, stage) for _ in range(2))
    assert_same(one, other)
    another = TASK.batch(Random("7:3"), 3, stage)
    assert not torch.equal(one.question_ids, another.question_ids)


@pytest.mark.parametrize("stage", [*range(len(STAGES)), None], ids=str)
def test_shapes_agree_and_windows_fit(stage: int | None) -> None:
    for seed in range(4):
        rng = Random(seed)
        batch = TASK.held_out(rng, 3) if stage is None else TASK.batch(rng, 3, stage)
        assert batch.depth is not None
        n_lives, n_rows, _ = batch.question_ids.shape
        assert n_lives >= 3
        assert batch.labels.shape == batch.answer_at.shape == batch.question_ids.shape
        assert batch.depth.shape == (n_lives, n_rows)
        assert 0 < n_rows <= TASK.questions
        for ids, mask in batch.windows:
            assert ids.shape == mask.shape
            assert ids.shape[0] == n_lives
            assert ids.shape[1] <= TASK.window
            assert bool(mask[:, 0].all())
            assert bool((mask[:, :-1] | ~mask[:, 1:]).all())  # padding is at the end
        every = [*(ids for ids, _ in batch.windows), batch.question_ids]
        assert all(int(ids.min()) >= 0 and int(ids.max()) < TASK.vocab_size for ids in every)


@pytest.mark.parametrize("stage", range(len(STAGES)))
def test_labels_are_on_the_reply_and_close_it(stage: int) -> None:
    batch = TASK.batch(Random(stage), 3, stage)
    reply = CHAT.reply_prefix()[0]
    for ids, labels in zip(
        batch.question_ids.flatten(0, 1).tolist(),
        batch.labels.flatten(0, 1).tolist(),
        strict=True,
    ):
        places = [place for place, label in enumerate(labels) if label != IGNORED]
        assert places == list(range(places[0], places[-1] + 1))
        assert ids[places[0]] == reply
        assert labels[places[-1]] == CHAT.end
        assert labels[places[0] : places[-1]] == ids[places[0] + 1 : places[-1] + 1]


def test_all_that_counts_is_labelled_and_of_a_kind() -> None:
    batch = TASK.batch(Random(2), 6, len(STAGES) - 1)
    assert batch.depth is not None
    assert bool((batch.labels[batch.answer_at] != IGNORED).all())
    counts = batch.answer_at.any(-1)
    assert torch.equal(counts, batch.depth >= 0)
    assert int(batch.depth.max()) < len(KINDS)
    assert not bool(counts.all())  # small talk and what is told awake are learned but not counted
    held_out = TASK.held_out(Random(2), 6)
    assert torch.equal(held_out.answer_at, held_out.labels != IGNORED)


def test_training_draws_fewer_statements_and_episodes_now_and_then() -> None:
    n_windows = {len(TASK.batch(Random(seed), 1, 6).windows) for seed in range(40)}
    assert min(n_windows) < STAGES[6].n_episodes
    assert max(n_windows) > STAGES[6].n_episodes


@pytest.mark.parametrize("stage", range(len(STAGES)))
def test_names_alone_tell_facts_apart_in_half_of_the_batches(stage: int) -> None:
    loads = [drawn_load(Random(seed), stage, 0.15, 0.05)[0] for seed in range(200)]
    named = [load for load in loads if load.of_self == 0.1]
    assert 60 <= len(named) <= 125
    assert all(load.n_relations <= 2 and {*load.kinds} <= {*ALIKE} for load in named)
    assert all(load.kinds for load in loads)


@pytest.mark.parametrize("stage", range(len(STAGES)))
def test_long_lives_ask_as_often_as_is_said_for_what_was_never_told(stage: int) -> None:
    shares = {drawn_load(Random(seed), stage, 0.5, 0.42)[0].abstain for seed in range(200)}
    assert (0.42 in shares) == (stage >= len(STAGES) - 2)
    assert shares <= {0.42, *(earlier.abstain for earlier in STAGES[: len(STAGES) - 2])}


def test_the_share_that_was_never_told_is_that_of_the_task() -> None:
    abstaining = KINDS.index("abstain")
    for untold, least, most in ((0, 0.0, 0.08), (50, 0.3, 0.6)):
        task = DialoguesTask(untold=untold, chained=50)
        depths = [task.batch(Random(seed), 1, 7).depth for seed in range(30)]
        asked = torch.cat([depth.flatten() for depth in depths if depth is not None])
        assert least <= float((asked == abstaining).float().mean()) <= most


def openings(split: Split) -> tuple[str, ...]:
    """Return how the wordings of a side begin, up to the first slot or verb."""
    own = [table for r in relations.EVERY for table in (r.tell, r.ask) if table]
    tables = (*wordings.TABLES, *own)
    first = [re.split(r"[{\[]", text)[0] for table in tables for text in table[split]]
    return tuple(text[0].upper() + text[1:] for text in first if text)


@pytest.mark.parametrize("split", [Split.VALIDATION, Split.TEST])
def test_held_out_lives_use_no_wording_of_training(split: Split) -> None:
    batch = TASK.lives(Random(1), 6, Load(16, 4), split)
    held_out = openings(split)
    only_training = tuple(
        opening
        for opening in openings(Split.TRAIN)
        if not any(text.startswith(opening) or opening.startswith(text) for text in held_out)
    )
    assert len(only_training) > 20
    texts = [text for ids, _ in batch.windows for row in ids for text in messages(row)]
    told = [text for text in texts if read_statements(Line(Role.USER, text))]
    asked = [messages(row)[-1] for row in batch.question_ids.flatten(0, 1)]
    assert min(len(told), len(asked)) > 60
    assert not [text for text in (*told, *asked) if text.startswith(only_training)]


def test_validation_is_what_held_out_draws() -> None:
    one = TASK.held_out(Random(5), 3)
    assert_same(one, TASK.lives(Random(5), 3, Load(16, 8), Split.VALIDATION))
