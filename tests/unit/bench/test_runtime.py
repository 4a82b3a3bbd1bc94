"""What the runtime costs, in rows of the agreed shape: all of them, in their small form."""

from __future__ import annotations

import json
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from sleepmem.bench import Row
from sleepmem.bench.runtime import resting
from sleepmem.bench.runtime.card import AT_LEAST, ROW_IS, costs
from sleepmem.bench.runtime.measured import at_least, at_most, in_turns
from sleepmem.bench.runtime.twin import AttentionTwin
from sleepmem.cli import main
from sleepmem.model import SleepConfig, SleepForCausalLM
from sleepmem.train.dialogues.vocabulary import tokenizer
from sleepmem.train.tokenizer import save_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    config = SleepConfig(
        vocab_size=tokenizer().get_vocab_size(), hidden_size=16, intermediate_size=16, window=96
    )
    SleepForCausalLM(config).save_pretrained(path)
    save_tokenizer(tokenizer(), path)
    return str(path)


@pytest.mark.timeout(300)  # two processes load torch
def test_command_measures_every_row_and_fails_with_its_goals(folder: str, tmp_path: Path) -> None:
    command = ["bench", "runtime", "--size", "small", "--model", folder, "--seed", "3"]
    result = CliRunner().invoke(main, [*command, "--out", str(tmp_path), "--json"])
    document = json.loads(result.stdout)
    record = json.loads((tmp_path / "runtime.json").read_text())
    assert document == {"bench": "runtime", **record}
    assert [path.name for path in tmp_path.iterdir()] == ["runtime.json"], "the rest is removed"
    assert (record["size"], record["seed"], record["model"]) == ("small", 3, folder)
    rows = [Row(**row) for row in record["rows"]]
    assert [row.name for row in rows] == list(ROW_IS)
    for row in rows:
        counted = next(x for x in (row.difference, row.ratio, row.value) if x is not None)
        assert row.goal is not None
        is_kept = counted >= row.goal if row.name in AT_LEAST else counted <= row.goal
        assert row.holds == is_kept, row
        assert row.ratio in (None, pytest.approx(row.value / (row.reference or 1)))
    assert result.exit_code == (0 if all(row.holds for row in rows) else 1)
    told = costs(record)
    assert all(words in told for words in ROW_IS.values())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other malloc can be asked to")
def test_memory_that_malloc_keeps_free_is_no_agents() -> None:
    before = resting._resident_bytes()
    pieces = [b"x" * (64 << 10) for _ in range(512)]
    grown = resting._resident_bytes()
    pieces = pieces[::8]  # 4 MiB; malloc keeps what is free between them
    kept = resting._resident_bytes()
    assert grown - before > 24 << 20
    assert kept - before < 8 << 20


async def test_agents_that_slept_are_not_counted_as_awake(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resting, "FILLED", 0.9)
    with pytest.raises(SystemExit, match="slept, so it was not awake"):
        await resting.measured(tmp_path, folder, 4, 2)


async def test_calls_take_turns_and_nobody_is_always_first() -> None:
    called: list[str] = []

    def call(name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            called.append(name)

        return run

    times = await in_turns("what", lambda *_: None, 3, [call("a"), call("b"), call("c")])
    assert "".join(called) == "abcbcacab"
    assert [len(samples) for samples in times] == [3, 3, 3]


def test_goals_are_bounds_of_the_ratio() -> None:
    assert [at_most("x", value, 2, "ms", 3).holds for value in (6, 6.1)] == [True, False]
    assert [at_least("x", value, 2, "ms", 3).holds for value in (6, 5.9)] == [True, False]


@torch.no_grad()
def test_twin_decodes_what_the_network_of_its_parts_predicts() -> None:
    torch.manual_seed(0)
    config = SleepConfig(vocab_size=61, hidden_size=16, intermediate_size=16, window=32)
    twin, ids = AttentionTwin(config, 0, 9), [5, 7, 60, 7, 3, 3, 21, 40, 8]
    assert len(twin.network.model.layers) == config.num_hidden_layers
    whole = twin.network(torch.tensor([ids])).logits[0].argmax(-1).tolist()
    assert twin.decode(ids) == whole
    assert twin.decode(ids[:4]) == whole[:4], "what lies behind a token is not seen"
