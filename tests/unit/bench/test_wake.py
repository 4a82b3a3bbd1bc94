"""What a wake token costs, in rows of the agreed shape, and counted without a clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

from sleepmem.bench import wake
from sleepmem.cli import main
from sleepmem.model import SleepConfig, SleepForCausalLM
from sleepmem.model.checkpoint import load_checkpoint
from sleepmem.train.dialogues.vocabulary import tokenizer
from sleepmem.train.tokenizer import save_tokenizer
from sleepmem.types import Sampling


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    config = SleepConfig(
        vocab_size=tokenizer().get_vocab_size(), hidden_size=16, intermediate_size=16, window=64
    )
    SleepForCausalLM(config).save_pretrained(path)
    save_tokenizer(tokenizer(), path)
    return str(path)


def silent(what: str, share: float) -> None:
    assert what
    assert 0 <= share <= 1


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "SHORT", 100)
    monkeypatch.setattr(wake, "LONG", 300)
    monkeypatch.setattr(wake, "N_ROUNDS", 3)
    monkeypatch.setattr(wake, "N_TOKENS", 2)


@pytest.mark.usefixtures("short")
def test_wake_rows(folder: str) -> None:
    rows = wake.wake(folder, 0, silent)
    first = rows[0]
    assert (first.name, first.goal) == ("wake_64k_over_1k", 1.10)
    assert first.ratio == pytest.approx(first.value / first.reference)
    assert first.holds == (first.ratio <= 1.10)
    speeds = {row.name: row for row in rows if row.name.startswith("wake.")}
    assert {name: row.goal for name, row in speeds.items()} == {
        "wake.decode": 150,
        "wake.sleep": 1500,
    }
    assert all(row.value > 0 and row.holds == (row.value >= row.goal) for row in speeds.values())
    assert speeds["wake.decode"].value == pytest.approx(1000 / first.reference)
    keys = {"name", "value", "unit", "reference", "ratio", "goal", "holds"}
    assert all(keys <= row.document().keys() for row in rows)


@pytest.mark.usefixtures("short")
def test_document_names_the_checkpoint_it_is_of(folder: str) -> None:
    command = ["bench", "wake", "--model", folder, "--seed", "3", "--json"]
    document = json.loads(CliRunner().invoke(main, command).stdout)
    assert document["fingerprint"] == load_checkpoint(folder).fingerprint
    assert (document["bench"], document["model"], document["seed"]) == ("wake", folder, 3)
    assert {row["name"] for row in document["rows"]} > {"wake_64k_over_1k", "snapshot_bytes"}


def test_a_wake_token_costs_the_same_work_after_any_life_and_any_passes(folder: str) -> None:
    lm = load_checkpoint(folder)
    ids = list(range(20, 84))
    counts, sizes = set(), set()
    for n_windows, passes in ((1, 1), (40, 1), (1, 4)):
        weights = lm.blank()
        for _ in range(n_windows):
            *_, last = lm.sleep(weights, ids, passes)
            weights = last.weights
        state = lm.wake(weights)
        lm.read(state, ids[:20])
        with FlopCounterMode(display=False) as counter:
            lm.next([state], [Sampling()])
        counts.add(counter.get_total_flops())
        sizes.add(len(lm.dump(weights)))
    assert len(counts) == len(sizes) == 1
    assert counts.pop() > 0
