"""Checkpoints: found, checked, named by what they hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sleepmem.errors import CheckpointInvalid, CheckpointNotFound
from sleepmem.model.checkpoint import checkpoint_folder, fingerprint, load_checkpoint
from sleepmem.train.tokenizer import build_tokenizer, save_tokenizer


@pytest.fixture
def folder(make_lm, tmp_path: Path) -> Path:
    tokenizer = build_tokenizer(["My dog is called Rex."])
    lm = make_lm("AG")
    lm.resize_token_embeddings(tokenizer.get_vocab_size(), mean_resizing=False)
    lm.save_pretrained(tmp_path / "ck")
    save_tokenizer(tokenizer, tmp_path / "ck")
    return tmp_path / "ck"


def test_unknown_name_says_which_are_known() -> None:
    with pytest.raises(CheckpointNotFound, match="no-such") as caught:
        load_checkpoint("no-such")
    assert "sleepmem/tiny" in caught.value.hint


def test_fingerprint_stays_when_only_the_writing_library_changes(folder: Path) -> None:
    before = fingerprint(folder)
    config = json.loads((folder / "config.json").read_text())
    config["transformers_version"] = "9.9.9"
    (folder / "config.json").write_text(json.dumps(config, indent=3))
    assert fingerprint(folder) == before == load_checkpoint(str(folder)).fingerprint


@pytest.mark.parametrize("what", ["weights", "config", "tokenizer", "template"])
def test_fingerprint_covers_all_that_a_snapshot_depends_on(folder: Path, what: str) -> None:
    before = fingerprint(folder)
    if what == "weights":
        tensors = load_file(folder / "model.safetensors")
        tensors["model.norm.weight"][3] += 1e-6
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    elif what == "config":
        config = json.loads((folder / "config.json").read_text()) | {"rope_theta": 9999.0}
        (folder / "config.json").write_text(json.dumps(config))
    else:
        name = {"tokenizer": "tokenizer.json", "template": "chat_template.jinja"}[what]
        (folder / name).write_text((folder / name).read_text() + " ")
    assert fingerprint(folder) != before


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointInvalid, match=name):
        load_checkpoint(str(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_unreadable_file_is_one_line(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\x80\x02not what it should be")
    with pytest.raises(CheckpointInvalid) as caught:
        load_checkpoint(str(folder))
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_refused(folder: Path, make_lm, tmp_path: Path) -> None:
    make_lm("AGA").save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(CheckpointInvalid):
        load_checkpoint(str(folder))


def test_half_precision_on_disk_runs_in_float32(folder: Path) -> None:
    tensors = {k: v.bfloat16() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    lm = load_checkpoint(str(folder))
    assert {p.dtype for p in lm._lm.parameters()} == {torch.float32}


def test_shipped_names_lead_to_a_folder_with_a_card() -> None:
    folder = checkpoint_folder("sleepmem/tiny")
    assert {p.name for p in folder.iterdir()} >= {"config.json", "model.safetensors", "README.md"}
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 16 << 20
