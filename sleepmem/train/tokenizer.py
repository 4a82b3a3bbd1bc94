"""Build the tokenizer of a checkpoint from the words that its task knows.

A unigram model over bytes: each known word is one token, common pieces of names are tokens, and
every byte is one, so any text can be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sleepmem.model.chat_tokens import (
    CHAT_TEMPLATE,
    END,
    PAD,
    ROLE_TOKENS,
    SPECIAL_TOKENS,
    byte_alphabet,
)

# log probabilities; a word beats its pieces, a piece beats its bytes
WORD, PIECE, BYTE = -1.0, -8.0, -12.0
N_PIECES, LONGEST_PIECE = 1500, 6  # the space counts


def build_tokenizer(texts: Iterable[str], names: Iterable[str] = ()) -> Tokenizer:
    """Return a tokenizer in which every word and mark of `texts` is one token.

    A word is known with the space before it; inside a sentence that is how it stands.

    Args:
        names: words to be cut into common pieces, so that others like them are cut alike.
    """
    alphabet = byte_alphabet()
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    words = {piece for text in texts for piece, _ in split.pre_tokenize_str(" " + text)}
    scores = dict.fromkeys((alphabet[byte] for byte in range(256)), BYTE)
    scores |= {piece: PIECE for piece in _pieces(names) if piece not in words}
    scores |= dict.fromkeys(sorted(words), WORD)
    vocabulary = [(token, 0.0) for token in SPECIAL_TOKENS] + list(scores.items())
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=None, byte_fallback=False))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    return tokenizer


def _pieces(names: Iterable[str]) -> list[str]:
    """Return the pieces that byte-pair encoding finds in names, each with its space before it."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=N_PIECES, max_token_length=LONGEST_PIECE, show_progress=False
    )
    learner.train_from_iterator(names, trainer)
    return sorted(piece for piece in learner.get_vocab() if len(piece) > 1)


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json, its config and the chat template, as transformers reads them."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLE_TOKENS.values()),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
