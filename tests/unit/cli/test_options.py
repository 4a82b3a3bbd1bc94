from __future__ import annotations

import click
import pytest

from sleepmem.cli.options import Address, AddressType


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ana", Address("ana", "main", None)),
        ("ana/what-if", Address("ana", "what-if", None)),
        ("ana@3", Address("ana", "main", "3")),
        ("ana/what-if@ep_1", Address("ana", "what-if", "ep_1")),
    ],
)
def test_address_is_parsed(text: str, address: Address) -> None:
    assert AddressType(episode=True).convert(text, None, None) == address


@pytest.mark.parametrize("text", ["", "/main", "ana/", "ana@", "@3"])
def test_address_that_lacks_a_part_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"AGENT\[/BRANCH\]"):
        AddressType(episode=True).convert(text, None, None)


def test_episode_is_refused_where_it_makes_no_sense() -> None:
    with pytest.raises(click.BadParameter, match="only replay"):
        AddressType().convert("ana@3", None, None)
