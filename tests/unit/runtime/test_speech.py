from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sleepmem.runtime.speech import Scissors

LETTERS = st.text(alphabet="ab.", max_size=12)


@given(st.lists(LETTERS, max_size=6), st.lists(LETTERS.filter(bool), max_size=3))
def test_scissors_cut_at_the_first_stop_string(pieces: list[str], stop: list[str]) -> None:
    """However the text comes in pieces, it ends right before a stop string, or not at all."""
    scissors = Scissors(stop)
    said = "".join(scissors.push(piece) for piece in pieces) + scissors.flush()
    text = "".join(pieces)
    assert text.startswith(said)
    assert scissors.has_cut == any(word in text for word in stop)
    if scissors.has_cut:
        assert not any(word in said for word in stop)
        assert any(text[len(said) :].startswith(word) for word in stop)
    else:
        assert said == text


def test_text_that_may_begin_a_stop_string_is_held_back() -> None:
    scissors = Scissors(["END"])
    assert scissors.push("the E") == "the "
    assert scissors.push("N") == ""
    assert scissors.push("T") == "ENT"
    assert scissors.push("END and more") == ""
    assert scissors.has_cut
    assert scissors.flush() == ""
