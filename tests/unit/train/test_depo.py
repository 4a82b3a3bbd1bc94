"""Cycles and the way around them, in both forms."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleepmem.errors import ConfigError
from sleepmem.train.tasks import IGNORED, Batch, find_task
from sleepmem.train.tasks.depo import DepoTask, draw_cycles
from sleepmem.train.tasks.depo_spelled import HOPS_AT, LETTERS, PAD, draw_names
from sleepmem.train.tasks.held_out import is_held_out

PAPER = DepoTask(nodes=75, hops=16, windows=4, form="spelled", sizes="mixed")
Name = tuple[int, ...]

GOLDEN_EDGES = [
    *([5, 18], [7, 12], [2, 16], [9, 15], [4, 13]),
    *([3, 19], [0, 14], [1, 17], [6, 10], [8, 11]),
]
GOLDEN_QUESTIONS = [
    *([6, 21], [7, 22], [2, 25], [4, 20], [0, 25]),
    *([4, 25], [0, 23], [3, 24], [2, 21], [7, 20]),
]
GOLDEN_LABELS = [14, 10, 15, 13, 11, 17, 15, 17, 10, 12]


def walked(edges: dict[Name, Name], start: Name, hops: int) -> Name:
    for _ in range(hops):
        start = edges[start]
    return start


def factored_edges(task: DepoTask, batch: Batch, row: int) -> dict[Name, Name]:
    tokens = [token for ids, _ in batch.windows for token in ids[row].tolist()]
    return {(source,): (target - task.nodes,) for source, target in tokens}


def spelled(tokens: list[int]) -> list[Name]:
    """Cut letters into names, each at the letter that ends it."""
    names: list[Name] = []
    name: list[int] = []
    for token in tokens:
        assert PAD < token <= HOPS_AT
        name.append(token)
        if token > LETTERS:
            names.append(tuple(name))
            name = []
    assert not name
    return names


def spelled_edges_of(batch: Batch, row: int) -> dict[Name, Name]:
    tokens = [token for ids, mask in batch.windows for token in ids[row][mask[row]].tolist()]
    n_padding = tokens.count(PAD)
    assert tokens[:n_padding] == [PAD] * n_padding  # all of it in front
    names = spelled(tokens[n_padding:])
    edges = dict(zip(names[::2], names[1::2], strict=True))
    assert len(edges) == len(names) // 2
    assert all(1 <= len(name) <= 2 for name in names)
    return edges


def length_of_cycle(edges: dict[Name, Name]) -> int:
    """Return the number of nodes on the only cycle."""
    start = at = next(iter(edges))
    for n in range(1, len(edges) + 1):
        at = edges[at]
        if at == start:
            return n
    raise AssertionError("no cycle")


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("stage", range(6))
def test_factored_answers_are_so_many_hops_away(stage: int, windows: int) -> None:
    task = DepoTask(windows=windows)
    batch = task.batch(Random(stage), 40, stage)
    assert batch.depth is not None
    assert set(batch.depth.flatten().tolist()) == set(range(1, stage + 2))
    for row in range(40):
        edges = factored_edges(task, batch, row)
        assert length_of_cycle(edges) == len(edges) == 10
        for asked, label in zip(batch.question_ids[row, :, 0], batch.labels[row], strict=True):
            start, hops = int(asked[0]), int(asked[1]) - 2 * task.nodes + 1
            assert walked(edges, (start,), hops) == (int(label) - task.nodes,)
        said = batch.question_ids[row, :, 0, 1] - 2 * task.nodes + 1
        assert torch.equal(said, batch.depth[row])


def test_factored_draws_are_the_known_ones() -> None:
    """Runs are resumed, and compared, on the same data."""
    batch = DepoTask().batch(Random("0:1"), 2, 5)
    assert batch.windows[0][0][1].tolist() == GOLDEN_EDGES
    assert batch.question_ids[1, :, 0].tolist() == GOLDEN_QUESTIONS
    assert batch.labels[1, :, 0].tolist() == GOLDEN_LABELS


@pytest.mark.parametrize("side", ["training", "held out"])
@pytest.mark.parametrize("task", [PAPER, DepoTask(form="spelled", windows=3, hops=4)])
def test_spelled_answers_are_so_many_hops_away(task: DepoTask, side: str) -> None:
    rng, size = Random(1), 12
    batch = task.held_out(rng, size) if side == "held out" else task.batch(rng, size, task.hops - 1)
    ask = HOPS_AT + task.hops + 1
    assert all(ids.shape == (size, task.window) for ids, _ in batch.windows)
    assert torch.equal(batch.answer_at, batch.labels != IGNORED)
    for row in range(size):
        edges = spelled_edges_of(batch, row)
        assert length_of_cycle(edges) == len(edges)
        assert side == "training" or len(edges) == task.nodes
        for n in range(task.questions):
            ids, labels = batch.question_ids[row, n].tolist(), batch.labels[row, n].tolist()
            at = ids.index(ask)
            (start,) = spelled(ids[1:at])
            (answer,) = spelled([label for label in labels if label != IGNORED])
            hops = ids[0] - HOPS_AT
            assert hops == int(batch.depth[row, n])  # type: ignore[index]
            assert walked(edges, start, hops) == answer
            assert [i for i, label in enumerate(labels) if label != IGNORED] == [
                *range(at, at + len(answer))
            ]  # at [?] and at every token of the answer but the last
            assert ids[at + 1 : at + len(answer)] == list(answer[:-1])


def test_paper_scale_is_four_windows_of_75() -> None:
    assert (PAPER.window, PAPER.windows, PAPER.n_stages) == (75, 4, 16)
    batch = PAPER.batch(Random(0), 4, 15)
    assert batch.n_tokens == (4 * 300, 4 * 10 * 5)


def test_spelled_hops_are_uniform() -> None:
    depth = PAPER.held_out(Random(0), 400).depth
    assert depth is not None
    counts = Counter(depth.flatten().tolist())
    assert all(abs(counts[k] / 4000 - 1 / 16) < 0.015 for k in range(1, 17))


def test_names_differ_and_have_both_lengths_alike() -> None:
    names = draw_names(torch.Generator().manual_seed(0), 200, 20)
    assert all(len({tuple(name) for name in row}) == 20 for row in names.tolist())
    assert set(names[..., 1].flatten().tolist()) == set(range(LETTERS + 1, 2 * LETTERS + 1))
    assert set(names[..., 0].flatten().tolist()) == set(range(LETTERS + 1))
    assert abs(float((names[..., 0] == PAD).float().mean()) - 0.5) < 0.06


def test_mixed_sizes_have_the_weights_of_the_source() -> None:
    generator = torch.Generator().manual_seed(0)
    following = draw_cycles(generator, 8000, 9, held_out=False, mixed=True)
    n_on_cycle = (following != torch.arange(9)).sum(dim=1)
    weights = {n: 1 / (n + 3) for n in range(3, 10)}
    for n, weight in weights.items():
        share = float((n_on_cycle == n).float().mean())
        assert abs(share - weight / sum(weights.values())) < 0.025
    assert sorted(weights.values(), reverse=True) == list(weights.values())


@given(
    nodes=st.integers(3, 30),
    hops=st.integers(1, 12),
    windows=st.integers(1, 5),
    questions=st.integers(1, 4),
    form=st.sampled_from(("factored", "spelled", "mixed")),
    seed=st.integers(0, 99),
)
def test_any_size_fits_window_and_vocabulary(
    nodes: int, hops: int, windows: int, questions: int, form: str, seed: int
) -> None:
    options = {"nodes": nodes, "hops": min(hops, nodes - 1), "windows": min(windows, nodes)}
    options |= {"questions": questions}
    sizes = "mixed" if form == "mixed" else "full"
    form = "spelled" if form == "mixed" else form
    task = DepoTask.model_validate(options | {"form": form, "sizes": sizes})
    stage = seed % task.n_stages
    for batch in (task.batch(Random(seed), 3, stage), task.held_out(Random(seed), 3)):
        assert len(batch.windows) == task.windows
        assert all(ids.shape[1] <= task.window for ids, _ in batch.windows)
        assert batch.labels.shape == batch.question_ids.shape[:3] == batch.answer_at.shape
        labels = batch.labels[batch.labels != IGNORED]
        every = [*(ids for ids, _ in batch.windows), batch.question_ids, labels]
        assert all(int(ids.min()) >= 0 and int(ids.max()) < task.vocab_size for ids in every)
    depth = task.batch(Random(seed), 3, stage).depth
    assert depth is not None
    assert int(depth.max()) <= stage + 1


@pytest.mark.parametrize("task", [DepoTask(), PAPER])
def test_same_random_state_gives_the_same_batch(task: DepoTask) -> None:
    one, other = (task.batch(Random("3:1"), 4, 2) for _ in range(2))
    another = task.batch(Random("3:2"), 4, 2)
    assert torch.equal(one.question_ids, other.question_ids)
    assert torch.equal(one.labels, other.labels)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one.windows, other.windows, strict=True))
    assert not torch.equal(one.question_ids, another.question_ids)


@pytest.mark.parametrize("n_nodes", [5, 7])
def test_training_never_draws_a_held_out_cycle(n_nodes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    trained = draw_cycles(generator, 4000, n_nodes, held_out=False)
    held_out = draw_cycles(generator, 4000, n_nodes, held_out=True)
    assert not bool(is_held_out(trained).any())
    assert bool(is_held_out(held_out).all())
    sides = [{tuple(row) for row in rows.tolist()} for rows in (trained, held_out)]
    assert not sides[0] & sides[1]


@pytest.mark.parametrize("windows", [1, 3])
def test_factored_answers_are_not_guessable(windows: int) -> None:
    batch = DepoTask(windows=windows).held_out(Random(1), 600)
    for hops in range(1, 7):
        asked = batch.question_ids[:, :, 0, 0][batch.depth == hops]
        answers = batch.labels[..., 0][batch.depth == hops] - 10
        away = Counter(((answers - asked) % 10).tolist())
        assert set(away) == set(range(1, 10))  # never the source itself
        assert max(away.values()) / away.total() < 0.15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": 2}, "nodes"),
        ({"hops": 10}, "10 hops on a cycle of 10 nodes"),
        ({"windows": 11}, "10 edges do not fill 11 windows"),
        ({"form": "written"}, "form"),
        ({"sizes": "mixed"}, "cycles of mixed sizes need the spelled form"),
        ({"form": "spelled", "cues": 1}, "the spelled form has no cues"),
        ({"form": "spelled", "nodes": 3000}, "names for 2550 nodes"),
        ({"keys": 4}, "no option 'keys'"),
    ],
)
def test_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_task("depo", options)


def test_rounds_sleep_on_the_same_windows_again_and_ask_the_same() -> None:
    once, twice = (DepoTask(windows=2, rounds=rounds).batch(Random(3), 4, 5) for rounds in (1, 2))
    assert len(twice.windows) == 4
    for n, (ids, mask) in enumerate(twice.windows):
        assert torch.equal(ids, once.windows[n % 2][0])
        assert torch.equal(mask, once.windows[n % 2][1])
    assert torch.equal(once.labels, twice.labels)
