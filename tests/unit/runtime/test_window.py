from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sleepmem.runtime.window import next_cut


@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=6),
    st.integers(0, 60),
    st.integers(2, 40),
    st.data(),
)
def test_cuts_make_everything_fit(
    lengths: list[int], n_open: int, room: int, data: st.DataObject
) -> None:
    """Every episode is at most the room; what stays leaves the reserve free; it comes to an end."""
    n_open = min(n_open, room)
    reserve = data.draw(st.integers(0, room - 1))
    message_ends = [n_open] if n_open else []
    for length in lengths:
        message_ends.append((message_ends or [0])[-1] + length)
    start, end, episodes = 0, message_ends[-1], []
    while True:
        cut = next_cut(
            start, [e for e in message_ends if e > start], fresh=n_open, room=room, reserve=reserve
        )
        if cut is None:
            break
        assert start < cut < end
        episodes.append((start, cut))
        start = cut
    assert all(stop - begin <= room for begin, stop in episodes)
    assert end - start + reserve <= room
    assert start < end
    if end + reserve <= room:
        assert not episodes
    elif n_open:
        assert episodes[0] == (0, n_open), "what was there before sleeps whole"


@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.integers(30, 60))
def test_messages_that_fit_are_not_cut(lengths: list[int], room: int) -> None:
    message_ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    start = 0
    while True:
        left = [end for end in message_ends if end > start]
        cut = next_cut(start, left, fresh=0, room=room, reserve=0)
        if cut is None:
            break
        assert cut in message_ends
        start = cut


def test_pieces_of_a_long_message_are_about_equal() -> None:
    start, sizes = 0, []
    while (cut := next_cut(start, [101], fresh=0, room=100, reserve=0)) is not None:
        sizes.append(cut - start)
        start = cut
    assert [*sizes, 101 - start] == [51, 50]


def test_empty_window_needs_no_cut() -> None:
    assert next_cut(7, [], fresh=7, room=1, reserve=0) is None
