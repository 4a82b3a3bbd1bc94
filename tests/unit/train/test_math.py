"""Word problems against an evaluator that reads their sentences."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.errors import ConfigError
from sleepmem.train.tasks import Batch, find_task
from sleepmem.train.tasks.math import MathTask
from sleepmem.train.tasks.math_problems import draw_problems

FORMS = ("factored", "words")
OWN_AMOUNT = {"more": 1, "fewer": -1}


class Told(NamedTuple):
    """One sentence: a number if `of` is None, else `kind` and `amount` of another quantity."""

    who: str
    kind: str
    amount: int
    of: str | None


def read_words(task: MathTask, batch: Batch, row: int) -> tuple[list[Told], dict[str, str]]:
    """Return the sentences, and who is asked for under each mark; check every word."""
    text = [
        " ".join(task.words[i] for i in ids[row][mask[row]].tolist()) for ids, mask in batch.windows
    ]
    told, asked = [], {}
    for n_window, window in enumerate(text):
        assert window.endswith((".", f"?{task.questions}"))  # no sentence crosses windows
        words = window.split()
        while words and words[0] == "How":
            assert n_window == 0
            how, many, thing, has, person, mark = words[:6]
            assert (how, many, has) == ("How", "many", "has")
            asked[mark] = f"{person}'s {thing}"
            del words[:6]
        for sentence in " ".join(words).split(" .")[:-1]:
            who, has, amount, *rest = sentence.split()
            assert has == "has"
            if len(rest) == 1:
                told.append(Told(f"{who}'s {rest[0]}", "is", int(amount), None))
            else:
                kind, thing, than, whom, has, other = rest
                assert than == ("as" if kind == "times-as-many" else "than")
                assert has == "has"
                told.append(Told(f"{who}'s {thing}", kind, int(amount), f"{whom}'s {other}"))
    return told, asked


def read_parts(task: MathTask, batch: Batch, row: int) -> tuple[list[Told], list[str]]:
    """Return the sentences and who is asked for, from tokens of parts."""
    tokens = [token for ids, _ in batch.windows for token in ids[row].tolist()]
    n_pairs = task.people * task.things
    relations = [f"is {n}" for n in range(task.numbers)]
    for kind in ("more", "fewer"):
        relations += [f"{kind} {a}" for a in range(1, task.amounts + 1)]
    relations += ["times-as-many 2", "times-as-many 3", "asked"]
    told, asked = [], []
    for n, (who, relation, whom) in enumerate(tokens):
        kind, *amount = relations[relation - 2 * n_pairs - 1].split()
        assert who < n_pairs <= whom <= 2 * n_pairs
        of = None if whom == 2 * n_pairs else str(whom - n_pairs)
        assert (of is None) == (kind in ("is", "asked"))
        assert (kind == "asked") == (n < task.questions)  # the questions come first
        if kind == "asked":
            asked.append(str(who))
        else:
            told.append(Told(str(who), kind, int(amount[0]), of))
    return told, asked


def solved(told: list[Told], who: str, numbers: int) -> tuple[int, int]:
    """Return the quantity and the operations to it, by following the sentences."""
    (sentence,) = [one for one in told if one.who == who]
    if sentence.of is None:
        return sentence.amount, 0
    number, n_operations = solved(told, sentence.of, numbers)
    if sentence.kind == "times-as-many":
        number *= sentence.amount
    else:
        number += OWN_AMOUNT[sentence.kind] * sentence.amount
    assert 0 <= number < numbers
    return number, n_operations + 1


@pytest.mark.parametrize("stage", range(9))
@pytest.mark.parametrize("form", FORMS)
def test_answers_and_depths_are_those_of_the_sentences(form: str, stage: int) -> None:
    task = MathTask.model_validate({"form": form})
    batch = task.batch(Random(stage), 30, stage)
    number_at = int(task.words.index("0")) if form == "words" else 2 * task.people * task.things + 1
    assert batch.depth is not None
    assert set(batch.depth.flatten().tolist()) == set(range(stage + 1))
    for row in range(30):
        if form == "words":
            told, marks = read_words(task, batch, row)
            asked = [marks[task.words[i]] for i in batch.question_ids[row, :, 0].tolist()]
        else:
            told, asked = read_parts(task, batch, row)
            again = batch.question_ids[row, :, 0].tolist()
            assert again == batch.windows[0][0][row, : task.questions].tolist()
        assert len(told) == len({one.who for one in told}) == task.quantities
        answers = [solved(told, who, task.numbers) for who in asked]
        found = (batch.labels[row, :, 0] - number_at).tolist()
        assert answers == list(zip(found, batch.depth[row].tolist(), strict=True))


def test_questions_share_the_operations_evenly() -> None:
    depth = MathTask().held_out(Random(0), 2000).depth
    assert depth is not None
    counts = Counter(depth.flatten().tolist())
    assert set(counts) == set(range(1, 9))
    assert all(abs(n / 8000 - 1 / 8) < 0.02 for n in counts.values())


@pytest.mark.parametrize("side", ["training", "held out"])
def test_answers_are_not_guessable_from_number_of_operations_or_own_sentence(side: str) -> None:
    task = MathTask()
    rng, size = Random(1), 4000
    batch = task.batch(rng, size, 8) if side == "training" else task.held_out(rng, size)
    labels, depth = batch.labels[..., 0], batch.depth
    for n in range(1, 9):
        counts = Counter(labels[depth == n].tolist())
        assert max(counts.values()) / counts.total() < 0.15
    told = torch.cat([ids for ids, _ in batch.windows], dim=1)[:, task.questions :]
    about = told[:, None, :, 0] == batch.question_ids[:, :, 0, 0, None]
    relation = (told[:, None, :, 1] * about).sum(dim=2)
    together: dict[int, Counter[int]] = {}
    assert depth is not None
    is_related = depth > 0
    pairs = zip(relation[is_related].tolist(), labels[is_related].tolist(), strict=True)
    for own, answer in pairs:
        together.setdefault(own, Counter())[answer] += 1
    assert sum(max(counts.values()) for counts in together.values()) < 0.15 * int(is_related.sum())


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(1, 4), st.integers(1, 6)),
    numbers=st.integers(10, 40),
    amounts=st.integers(1, 12),
    form=st.sampled_from(FORMS),
    seed=st.integers(0, 99),
)
def test_any_size_fits_window_and_vocabulary(
    sizes: tuple[int, int, int, int], numbers: int, amounts: int, form: str, seed: int
) -> None:
    operations, more, windows, questions = sizes
    quantities = operations + more
    told = questions + quantities
    options = {"quantities": quantities, "numbers": numbers, "amounts": amounts, "form": form}
    options |= {"operations": operations, "questions": questions}
    options["windows"] = min(windows, max(1, told // questions))
    task = MathTask.model_validate(options)
    stage = seed % task.n_stages
    for batch in (task.batch(Random(seed), 3, stage), task.held_out(Random(seed), 3)):
        assert len(batch.windows) == task.windows
        assert all(ids.shape[1] <= task.window for ids, _ in batch.windows)
        assert batch.labels.shape == batch.question_ids.shape[:3] == batch.answer_at.shape
        every = [*(ids for ids, _ in batch.windows), batch.question_ids, batch.labels]
        assert all(int(ids.min()) >= 0 and int(ids.max()) < task.vocab_size for ids in every)
    depth = task.batch(Random(seed), 3, stage).depth
    assert depth is not None
    assert int(depth.max()) <= stage


@pytest.mark.parametrize("form", FORMS)
def test_same_random_state_gives_the_same_batch(form: str) -> None:
    task = find_task("math", {"form": form})
    one, other = (task.batch(Random("3:1"), 4, 2) for _ in range(2))
    another = task.batch(Random("3:2"), 4, 2)
    assert torch.equal(one.question_ids, other.question_ids)
    assert torch.equal(one.labels, other.labels)
    for (a, m), (b, n) in zip(one.windows, other.windows, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(m, n)
    assert not torch.equal(one.windows[0][0], another.windows[0][0])


def test_training_never_draws_a_held_out_problem() -> None:
    def drawn(*, held_out: bool) -> set[tuple[int, ...]]:
        generator = torch.Generator().manual_seed(5)
        shape = 2000, 1, 3  # so few that both sides would meet
        problems = draw_problems(generator, shape, (1, 2), 10, 2, held_out=held_out)
        rows = torch.cat([problems.parent, problems.relation, problems.asked], dim=1)
        return {tuple(row) for row in rows.tolist()}

    trained, held_out = drawn(held_out=False), drawn(held_out=True)
    assert not trained & held_out
    assert len(trained) + len(held_out) < 4000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operations": 0}, "operations"),
        ({"operations": 12}, "12 operations need more than 12 quantities"),
        ({"people": 5}, "5 people with 2 things each are fewer than 12"),
        ({"windows": 6}, "4 questions do not stand in the first of 6 windows"),
        ({"numbers": 5}, "numbers"),
        ({"form": "spoken"}, "form"),
        ({"modulus": 7}, "no option 'modulus'"),
    ],
)
def test_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_task("math", options)
