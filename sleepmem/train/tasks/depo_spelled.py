"""`depo` as the paper has it: names are spelled, and edges and answers are several tokens.

    context     pad .. pad v1 v2 v1 v2 ..      one sequence, cut into equal windows
    question    [k] v1 [?] v2                  labels at [?] and at all tokens of v2 but the last

A name is one or two tokens out of a small vocabulary; its last token is the same one plus
`LETTERS`, the end of the word. Both lengths are equally likely. Padding in front makes all contexts
equally long; it is read like any other token. A question is padded behind, where it has no effect.

Ids: 0 padding, 1 .. 50 letters, 51 .. 100 letters that end a name, then k = 1, 2 .., then [?].

Unlike there, each question starts from an empty KV cache and sees no earlier answer.

Source: `depo_data(N=75, K=16, mini_vocab=50, min_tlen=1, max_tlen=2)` of PhysicsLM4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sleepmem.train.tasks import IGNORED

LETTERS = 50
MOST_NODES = LETTERS + LETTERS**2  # so many names there are
EDGE = 4  # tokens of the longest
PAD = 0
HOPS_AT = 2 * LETTERS  # the id of zero hops, the last that ends a name


def draw_names(generator: torch.Generator, size: int, n_nodes: int) -> Tensor:
    """Return (size, n_nodes, 2), all names of a row different; a short one is (PAD, last)."""
    weights = torch.full((size, MOST_NODES), 1 / LETTERS**2)
    weights[:, :LETTERS] = 1 / LETTERS  # as likely as the long ones together
    name = torch.multinomial(weights, n_nodes, generator=generator)
    first = torch.where(name < LETTERS, PAD, name // LETTERS)
    return torch.stack([first, LETTERS + 1 + name % LETTERS], dim=-1)


def spelled_edges(
    names: Tensor, following: Tensor, order: Tensor, n_windows: int, window: int
) -> tuple[Tensor, ...]:
    """Return the windows, (size, window) each; a node that follows itself is not told.

    Args:
        order: (size, nodes), that in which the edges are told, by their sources.
    """
    edges = torch.cat([_of(names, order), _of(names, following.gather(1, order))], dim=-1)
    edges[following.gather(1, order) == order] = PAD
    tokens = edges.flatten(1)
    behind = (tokens != PAD).to(torch.int8).argsort(dim=1, stable=True)
    in_front = tokens.new_full((len(tokens), n_windows * window - tokens.shape[1]), PAD)
    return torch.cat([in_front, tokens.gather(1, behind)], dim=1).split(window, dim=1)


def spelled_questions(
    names: Tensor, start: Tensor, hops: Tensor, answer: Tensor, most_hops: int
) -> tuple[Tensor, Tensor]:
    """Return ids and labels, (size, questions, 5) each, for nodes (size, questions)."""
    ask = torch.full_like(hops, HOPS_AT + most_hops + 1)
    asked = torch.cat([(HOPS_AT + hops)[..., None], _of(names, start), ask[..., None]], dim=-1)
    tokens = torch.cat([asked, _of(names, answer)], dim=-1)
    is_answer = (torch.arange(tokens.shape[-1]) >= asked.shape[-1]).expand_as(tokens)
    in_front = (tokens == PAD).to(torch.int8).argsort(dim=-1, stable=True)
    tokens, is_answer = tokens.gather(-1, in_front), is_answer.gather(-1, in_front)
    counts = is_answer & (tokens != PAD)
    return tokens[..., :-1], tokens[..., 1:].where(counts[..., 1:], IGNORED)


def _of(names: Tensor, nodes: Tensor) -> Tensor:
    """Return the names (size, n, 2) of nodes (size, n)."""
    return names.gather(1, nodes[..., None].expand(-1, -1, 2))
