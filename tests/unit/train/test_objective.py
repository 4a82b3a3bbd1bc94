"""What is minimised, against versions that read token by token."""

from __future__ import annotations

import pytest
import torch
from small_tasks import EchoTask, TalkingTask, settings
from torch import Tensor
from torch.nn.functional import cross_entropy

from sleepmem.model.chat_tokens import ChatTokens
from sleepmem.model.native import NativeSleepLM
from sleepmem.model.network import SleepForCausalLM, fast_weights
from sleepmem.model.sleep import sleep
from sleepmem.runtime.measure import loss_cached, loss_from
from sleepmem.train import objective
from sleepmem.train.loop import build_model, n_token_passes
from sleepmem.train.loops import loop_sleep, loop_wake, own_loop
from sleepmem.train.objective import Reading, score
from sleepmem.train.settings import Loop
from sleepmem.train.tasks import IGNORED, Batch

VOCAB = EchoTask.vocab_size
Weights = tuple[Tensor, ...]


REWRITE = Loop(loop_input="rewrite")


def make(
    layers: str = "AGAG", seed: int = 3, loop: Loop | None = None, loop_layers: int = 0
) -> SleepForCausalLM:
    given = settings(
        layers=layers, seed=seed, n_heads=2, loop=loop or Loop(), loop_layers=loop_layers
    )
    lm = build_model(given, EchoTask()).eval()
    for parameter in lm.model.loop_layers.parameters():  # fresh ones change nothing
        torch.nn.init.normal_(parameter, std=0.3)
    return lm


def ids(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def lived(lm: SleepForCausalLM, n_batch: int) -> Weights:
    return sleep(lm, lm.model.blank(n_batch), ids(n_batch, 9, seed=8), 1)


def ragged(n_batch: int, n_tokens: int) -> Tensor:
    return torch.arange(n_tokens) < torch.tensor([[n_tokens - i % 3] for i in range(n_batch)])


def draw(*, parts: int = 1, is_ragged: bool = False, n_windows: int = 2) -> Batch:
    """Return 3 contexts of 4 questions, some with two answer tokens, some with none that counts."""
    shape = (3, 7) if parts == 1 else (3, 7, parts)
    windows = tuple(
        (ids(*shape, seed=n), ragged(3, 7) if is_ragged else torch.ones(3, 7, dtype=torch.bool))
        for n in range(n_windows)
    )
    labels = ids(3, 4, 5, seed=11)
    labels[..., :2] = IGNORED
    counts = torch.zeros(3, 4, 5, dtype=torch.bool)
    counts[..., 3:] = True
    counts[:, 1, 3] = False
    counts[:, 2] = False
    asked = ids(3, 4, 5, seed=12) if parts == 1 else ids(3, 4, 5, parts, seed=12)
    return Batch(windows, asked, labels, counts, torch.arange(12).view(3, 4) % 5)


def one_by_one(lm: SleepForCausalLM, h: Tensor, weights: Weights) -> tuple[Tensor, Weights]:
    """Read hidden states token by token from the start of a window: a slow pass."""
    states, outputs = lm.model.window_start(weights), []
    for t in range(h.shape[1]):
        output, states = lm.model(h[:, t : t + 1], states)
        outputs.append(output)
    return torch.cat(outputs, dim=1), fast_weights(states)


def close(found: Weights, expected: Weights) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("is_ragged", [False, True])
@pytest.mark.parametrize("loop", [Loop(), REWRITE])
def test_the_loop_of_a_model_is_the_sleep_of_agents_bit_for_bit(
    passes: int, is_ragged: bool, loop: Loop
) -> None:
    tokens, mask = ids(4, 21), ragged(4, 21) if is_ragged else None
    results = []
    for how in (lambda *given: loop_sleep(*given, loop), sleep):
        lm = make(loop=loop, loop_layers=2 if loop == REWRITE else 0)
        assert own_loop(lm) == loop
        start = tuple(w.detach().requires_grad_() for w in lived(lm, 4))
        after = how(lm, start, tokens, passes, mask)
        sum((w * w.cos()).sum() for w in after).backward()
        gradients = {name: p.grad for name, p in lm.named_parameters() if p.grad is not None}
        results.append((after, [w.grad for w in start], gradients))
    (w1, s1, g1), (w2, s2, g2) = results
    assert all(map(torch.equal, w1, w2))
    assert all(map(torch.equal, s1, s2))
    assert g1.keys() == g2.keys()
    if loop == Loop():
        assert all(torch.equal(g1[name], g2[name]) for name in g1)
    for name in g1:  # what every pass reads may be summed in another order
        torch.testing.assert_close(g1[name], g2[name], rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_embedding_again_is_as_many_separate_scans_of_the_same_tokens() -> None:
    lm, tokens = make(), ids(2, 11)
    expected = start = lived(lm, 2)
    for _ in range(3):
        _, expected = one_by_one(lm, lm.embed(tokens), expected)
    found = loop_sleep(lm, start, tokens, 3, None, Loop(loop_input="embed"))
    close(found, expected)
    assert not torch.allclose(found[0], sleep(lm, start, tokens, 3)[0], atol=1e-3)


@torch.no_grad()
def test_reset_carries_hidden_states_and_writes_once_from_the_start_of_the_window() -> None:
    lm, tokens = make(), ids(2, 11)
    start, h = lived(lm, 2), lm.embed(tokens)
    for _ in range(3):
        h, expected = one_by_one(lm, h, start)
    found = loop_sleep(lm, start, tokens, 3, None, Loop(loop_state="reset"))
    close(found, expected)
    assert not torch.allclose(found[0], sleep(lm, start, tokens, 3)[0], atol=1e-3)


@torch.no_grad()
def test_injection_adds_the_tokens_to_normalised_hidden_states() -> None:
    lm, tokens = make(), ids(2, 11)
    start, h = lived(lm, 2), lm.embed(tokens)
    expected = start
    for n in range(3):
        if n:
            h = lm.embed(tokens) + h / h.square().mean(-1, keepdim=True).sqrt()
        h, expected = one_by_one(lm, h, expected)
    found = loop_sleep(lm, start, tokens, 3, None, Loop(loop_input="inject"))
    close(found, expected)
    assert not torch.allclose(found[0], sleep(lm, start, tokens, 3)[0], atol=1e-3)


@torch.no_grad()
def test_passes_at_wake_loop_over_the_question_and_not_over_the_window() -> None:
    lm, batch = make(), draw()
    questions = batch.question_ids.flatten(0, 1)
    weights = lm.model.blank(3)
    for window, _ in batch.windows:
        weights = sleep(lm, weights, window, 1)
    expected, after = lm.embed(questions), tuple(w.repeat_interleave(4, dim=0) for w in weights)
    for _ in range(3):
        expected, after = one_by_one(lm, expected, after)
    labels = batch.labels.flatten(0, 1)
    loss = cross_entropy(lm.logits(expected[labels != IGNORED]), labels[labels != IGNORED])
    found = score(lm, batch, 1, loop=Loop(wake_passes=3)).loss
    torch.testing.assert_close(found, loss, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, score(lm, batch, 1).loss, atol=1e-3)
    given = settings(loop=Loop(wake_passes=3))
    assert n_token_passes(lm, given, batch, 4) == 4 * 2 * 21 + 3 * 60
    for layers, n_prelude, n_core in (("AG", 1, 1), ("AAGAGA", 2, 3)):
        given = settings(layers=layers, loop=REWRITE, loop_layers=2)
        looped = make(layers, loop=REWRITE, loop_layers=2)
        n_through = n_prelude + 4 * n_core + 3 * 2
        assert n_token_passes(looped, given, batch, 4) == 2 * 21 * n_through // len(layers) + 60
    alone = settings(layers="AG", loop=REWRITE, loop_layers=2, loop_alone=True, passes=(2, 3))
    looped = make("AG", loop=REWRITE, loop_layers=2)
    assert n_token_passes(looped, alone, batch, 3) == 2 * 21 * (1 + 2 * (2 + 3 * 1)) // 2


@torch.no_grad()
@pytest.mark.parametrize("layers", ["AGAG", "AA"])
@pytest.mark.parametrize("is_ragged", [False, True])
def test_without_eviction_it_is_one_forward_over_windows_and_question(
    layers: str, is_ragged: bool
) -> None:
    lm, batch = make(layers), draw(is_ragged=is_ragged)
    found = score(lm, batch, 1, loop=Loop(evict=False))
    losses, right = [], []
    for c in range(3):
        read = torch.cat([window[c] for window, _ in batch.windows])
        mask = torch.cat([mask[c] for _, mask in batch.windows])
        for q in range(4):
            whole = torch.cat([read, batch.question_ids[c, q]])[None]
            seen = torch.cat([mask, torch.ones(5, dtype=torch.bool)])[None]
            logits = lm(whole, attention_mask=seen.long()).logits[0, -5:]
            labels, counts = batch.labels[c, q], batch.answer_at[c, q]
            losses.append(cross_entropy(logits[labels != IGNORED], labels[labels != IGNORED]))
            if counts.any():
                right.append(bool((logits.argmax(-1) == labels)[counts].all()))
    torch.testing.assert_close(found.loss, torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)
    assert found.right.tolist() == right


@torch.no_grad()
def test_attention_alone_with_eviction_knows_nothing_of_the_windows() -> None:
    lm, batch = make("AA"), draw()
    other = Batch(
        tuple(((w + 1) % VOCAB, m) for w, m in batch.windows),
        batch.question_ids,
        batch.labels,
        batch.answer_at,
    )
    losses = {float(score(lm, given, 3).loss) for given in (batch, other)}
    losses.add(float(score(lm, batch, 3, blank=True).loss))
    assert len(losses) == 1
    kept = [float(score(lm, b, 1, loop=Loop(evict=False)).loss) for b in (batch, other)]
    assert kept[0] != kept[1]


@torch.no_grad()
@pytest.mark.parametrize("evict", [True, False])
def test_blank_asks_a_newborn(evict: bool) -> None:
    lm, batch = make(), draw()
    found = score(lm, batch, 3, loop=Loop(evict=evict), blank=True).loss
    h = loop_wake(lm, lm.model.blank(12), batch.question_ids.flatten(0, 1), Loop())
    labels = batch.labels.flatten(0, 1)
    expected = cross_entropy(lm.logits(h[labels != IGNORED]), labels[labels != IGNORED])
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_tokens_of_two_parts_are_slept_on_and_asked() -> None:
    lm, batch = make(), draw(parts=2)
    weights = lm.model.blank(3)
    for window, _ in batch.windows:
        h = lm.model.embed_tokens(window[..., 0]) + lm.model.embed_tokens(window[..., 1])
        for _ in range(2):
            h, weights = one_by_one(lm, h, weights)
    asked = batch.question_ids[1, 2]
    h = lm.model.embed_tokens(asked[..., 0]) + lm.model.embed_tokens(asked[..., 1])
    h, _ = one_by_one(lm, h[None], tuple(w[1:2] for w in weights))
    labels = torch.full_like(batch.labels, IGNORED)
    labels[1, 2] = batch.labels[1, 2]
    alone = Batch(batch.windows, batch.question_ids, labels, batch.answer_at)
    expected = cross_entropy(lm.logits(h[0, 2:]), labels[1, 2, 2:])
    torch.testing.assert_close(score(lm, alone, 2).loss, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_answer_is_right_if_all_of_its_tokens_that_count_are() -> None:
    lm, batch = make(), draw()
    h = loop_wake(lm, lm.model.blank(12), batch.question_ids.flatten(0, 1), Loop())
    guesses = lm.logits(h).argmax(-1).view(3, 4, 5)
    labels = torch.where(batch.labels == IGNORED, IGNORED, guesses)
    labels[0, 0, 3] = (labels[0, 0, 3] + 1) % VOCAB  # one token of two
    labels[1, 1, 3] = (labels[1, 1, 3] + 1) % VOCAB  # has a loss, but does not count
    labels[2, 3, 2] = (labels[2, 3, 2] + 1) % VOCAB  # nor does this
    labels[2, 2, 4] = (labels[2, 2, 4] + 1) % VOCAB  # nothing of this question counts
    marked = Batch(batch.windows, batch.question_ids, labels, batch.answer_at, batch.depth)
    found = score(lm, marked, 1, blank=True)
    assert found.right.tolist() == [False] + [True] * 8
    assert found.accuracy == pytest.approx(8 / 9)
    assert found.depth.tolist() == [0, 1, 3, 4, 0, 2, 3, 4, 1]
    unknown = Batch(batch.windows, batch.question_ids, labels, batch.answer_at)
    assert score(lm, unknown, 1, blank=True).depth.tolist() == [0] * 9


@torch.no_grad()
def test_a_context_does_not_hear_its_neighbours() -> None:
    lm, batch = make(), draw(is_ragged=True)
    alone = [
        Batch(
            tuple((w[c : c + 1], m[c : c + 1]) for w, m in batch.windows),
            batch.question_ids[c : c + 1],
            batch.labels[c : c + 1],
            batch.answer_at[c : c + 1],
        )
        for c in range(3)
    ]
    together = score(lm, batch, 2).loss
    apart = torch.stack([score(lm, one, 2).loss for one in alone]).mean()
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_token_of_every_window_through_the_fast_weights() -> None:
    lm = build_model(settings(layers="AG", tied=False), EchoTask())
    windows = tuple((10 * n + ids(2, 7) % 10, torch.ones(2, 7, dtype=torch.bool)) for n in (0, 1))
    asked = 20 + ids(2, 4, 5) % 10
    counts = torch.ones_like(asked, dtype=torch.bool)
    score(lm, Batch(windows, asked, asked, counts), 3).loss.backward()
    gradient = lm.model.embed_tokens.weight.grad.abs().sum(-1)
    for tokens in (*(window for window, _ in windows), asked):
        assert bool((gradient[tokens.unique()] > 0).all())
    assert not gradient[30:].any()


@torch.no_grad()
@pytest.mark.parametrize("window", [0, 1])
@pytest.mark.parametrize("when", ["first", "again", "cached"])
def test_a_reading_is_the_loss_that_a_sleep_is_measured_by(window: int, when: str) -> None:
    lm = make()
    tokens = [ids(1, 7, seed=n) for n in (1, 2)]
    seen = torch.ones(1, 7, dtype=torch.bool)
    asked, labels = ids(1, 1, 5), ids(1, 1, 5, seed=2)
    batch = Batch(tuple((t, seen) for t in tokens), asked, labels, labels >= 0)
    agent = NativeSleepLM(lm, ChatTokens(TalkingTask().tokenizer()), "echo")
    weights = agent.blank()
    for read in tokens[: window + (when == "again")]:
        *_, last = agent.sleep(weights, read[0].tolist(), 3)
        weights = last.weights
    measured = loss_cached if when == "cached" else loss_from
    expected = measured(agent, weights, tokens[window][0].tolist())
    found = score(lm, batch, 3, reading=Reading(window, when))
    assert float(found.speech) == pytest.approx(expected, rel=1e-4)
    plain = score(lm, batch, 3)
    assert plain.speech is None
    assert torch.equal(found.loss, plain.loss)


@torch.no_grad()
def test_padding_of_a_window_is_not_read() -> None:
    lm, batch = make(), draw(is_ragged=True)
    found = float(score(lm, batch, 2, reading=Reading(1, "first")).speech)
    filled = tuple((torch.where(m, w, (w + 5) % VOCAB), m) for w, m in batch.windows)
    other = Batch(filled, batch.question_ids, batch.labels, batch.answer_at)
    again = float(score(lm, other, 2, reading=Reading(1, "first")).speech)
    assert again == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("backward", [None, 1, 2, 3, 9])
def test_gradients_flow_through_the_last_windows_alone(backward: int | None) -> None:
    lm = build_model(settings(layers="AG", tied=False), EchoTask())
    windows = tuple((10 * n + ids(2, 7) % 10, torch.ones(2, 7).bool()) for n in range(3))
    asked = 30 + ids(2, 4, 5) % 10
    batch = Batch(windows, asked, asked, torch.ones_like(asked).bool())
    found = score(lm, batch, 2, backward=backward)
    found.loss.backward()
    gradient = lm.model.embed_tokens.weight.grad.abs().sum(-1)
    reached = [bool((gradient[window.unique()] > 0).all()) for window, _ in windows]
    untouched = [not bool(gradient[window.unique()].any()) for window, _ in windows]
    expected = [n >= 3 - (backward or 3) for n in range(3)]
    assert reached == expected
    assert untouched == [not is_reached for is_reached in expected]
    assert torch.equal(found.loss, score(lm, batch, 2).loss)


@torch.no_grad()
def test_questions_of_uneven_length_are_answered_as_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm, generator = make(), torch.Generator().manual_seed(4)
    asked, labels = ids(3, 9, 24, seed=5), ids(3, 9, 24, seed=6)
    n_tokens = torch.randint(3, 25, (3, 9), generator=generator)
    at = torch.arange(24)
    labels[(at < n_tokens[..., None] - 2) | (at >= n_tokens[..., None])] = IGNORED
    windows = draw(is_ragged=True).windows
    whole = Batch(windows, asked, labels, labels != IGNORED)
    calls = []

    def counted(*given: object) -> Tensor:
        calls.append(given)
        return loop_wake(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(objective, "loop_wake", counted)
    found = score(lm, whole, 2)
    assert len(calls) == objective.LENGTHS
    losses, right, first = [], [], []
    for c in range(3):
        for q in range(9):
            n = int(n_tokens[c, q])
            one = Batch(
                tuple((w[c : c + 1], m[c : c + 1]) for w, m in windows),
                *(x[c : c + 1, q : q + 1, :n] for x in (asked, labels, labels != IGNORED)),
            )
            alone = score(lm, one, 2)
            losses.append(alone.loss)
            right += alone.right.tolist()
            first += alone.first.tolist()
    torch.testing.assert_close(found.loss, torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)
    assert found.right.tolist() == right
    assert found.first.tolist() == first
