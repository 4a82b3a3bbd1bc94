"""The model as transformers sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache

import sleepmem.model


def ids(n_tokens: int, n_batch: int = 1) -> torch.Tensor:
    gen = torch.Generator().manual_seed(3)
    return torch.randint(0, 61, (n_batch, n_tokens), generator=gen)


@torch.no_grad()
def test_auto_class_reads_what_was_saved_bit_for_bit(make_lm, tmp_path: Path) -> None:
    lm = make_lm()
    lm.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is sleepmem.model.SleepForCausalLM
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert torch.equal(again(ids(20)).logits, lm(ids(20)).logits)


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 2, 13, 22])
def test_two_chunks_with_a_cache_equal_one(make_lm, cut: int) -> None:
    lm, tokens = make_lm(), ids(23, n_batch=2)
    whole = lm(tokens).logits
    cache = DynamicCache(config=lm.config)
    first = lm(tokens[:, :cut], cache=cache, use_cache=True).logits
    second = lm(tokens[:, cut:], cache=cache, use_cache=True).logits
    assert cache.get_seq_length() == 23
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_cache_is_made_when_it_is_asked_for(make_lm) -> None:
    lm, tokens = make_lm(), ids(9)
    first = lm(tokens[:, :8], use_cache=True)
    second = lm(tokens[:, 8:], cache=first.cache, use_cache=True)
    torch.testing.assert_close(second.logits, lm(tokens).logits[:, 8:], rtol=1e-4, atol=1e-4)
    assert lm(tokens).cache is None


@torch.no_grad()
def test_generate_equals_greedy_by_hand(make_lm) -> None:
    lm, tokens = make_lm(), ids(9)
    out = lm.generate(tokens, max_new_tokens=6, do_sample=False, pad_token_id=0)
    by_hand = tokens
    for _ in range(6):
        by_hand = torch.cat([by_hand, lm(by_hand).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(out, by_hand)


@torch.no_grad()
def test_left_padding_changes_nothing_for_real_tokens(make_lm) -> None:
    lm, tokens = make_lm(), ids(12)
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), tokens], dim=1)
    mask = torch.ones(1, 17, dtype=torch.long)
    mask[:, :5] = 0
    logits = lm(padded, attention_mask=mask).logits[:, 5:]
    torch.testing.assert_close(logits, lm(tokens).logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_attention_reads_a_token_with_those_just_before_it(make_lm) -> None:
    tokens, other = ids(12), ids(12)
    other[0, 4] = (other[0, 4] + 1) % 61
    for attention_conv in (0, 3):
        mixer = make_lm("A", attention_conv=attention_conv).model.layers[0].mixer
        x, y = (mixer.mix(make_lm("A").embed(t), None, None)[0] for t in (tokens, other))
        changed = (x != y).any(-1)[0].nonzero().flatten().tolist()
        assert changed == ([4, 5, 6] if attention_conv else [4])


@torch.no_grad()
def test_a_fresh_short_convolution_changes_nothing(make_lm) -> None:
    torch.manual_seed(0)
    with_one = sleepmem.model.SleepForCausalLM(make_lm("AG").config)
    without = make_lm("AG", attention_conv=0)
    without.load_state_dict(with_one.state_dict(), strict=False)
    assert torch.equal(with_one(ids(20)).logits, without(ids(20)).logits)


@torch.no_grad()
def test_attention_never_sees_another_window(make_lm) -> None:
    lm = make_lm("AA")  # no recurrent layer: nothing can pass from window to window
    assert lm.model.blank(1) == ()
    logits = lm(ids(10)).logits
    lm(ids(30))
    assert torch.equal(lm(ids(10)).logits, logits)


def test_labels_give_the_shifted_cross_entropy(make_lm) -> None:
    lm, tokens = make_lm(), ids(15)
    result = lm(tokens, labels=tokens)
    by_hand = -lm(tokens).logits[0, :-1].log_softmax(-1)[range(14), tokens[0, 1:]].mean()
    torch.testing.assert_close(result.loss, by_hand)
