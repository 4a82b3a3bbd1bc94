"""What is shipped is the finished run, its weights as they were or in half precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sleepmem.bench.memory import ship as shipping
from sleepmem.errors import ConfigError
from sleepmem.model.checkpoint import load_checkpoint, read_weights
from sleepmem.train.runs import read_record


def test_a_checkpoint_to_live_with_is_copied_whole(finished: Path, tmp_path: Path) -> None:
    shipping.ship(finished, tmp_path / "tiny")
    lm = load_checkpoint(str(tmp_path / "tiny"))
    assert lm.fingerprint == load_checkpoint(str(finished / "checkpoint")).fingerprint
    assert lm.retention_floor is None
    assert read_record(tmp_path / "tiny")[1].step == 2
    shipping.ship(finished, tmp_path / "tiny", 0.25)
    again = load_checkpoint(str(tmp_path / "tiny"))
    assert (again.retention_floor, again.fingerprint) == (0.25, lm.fingerprint)


def test_an_opponent_is_kept_in_half_precision(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "FOLDER", tmp_path)
    shipping.ship(finished, tmp_path / "passes1_steps")
    ours, theirs = read_weights(finished / "checkpoint"), read_weights(tmp_path / "passes1_steps")
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one.half().float(), other)
    assert not (tmp_path / "passes1_steps" / "tokenizer.json").exists()


def test_a_run_that_has_steps_to_go_is_refused(finished: Path, tmp_path: Path) -> None:
    (finished / "checkpoint" / "config.json").rename(tmp_path / "config.json")
    try:
        with pytest.raises(ConfigError, match="step 2 of 2"):
            shipping.ship(finished, tmp_path / "tiny")
    finally:
        (tmp_path / "config.json").rename(finished / "checkpoint" / "config.json")
