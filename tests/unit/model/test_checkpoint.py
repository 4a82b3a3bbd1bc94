"""Checkpoints: found, checked, named by what they hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sleepmem.errors import CheckpointInvalid, CheckpointNotFound
from sleepmem.model.checkpoint import (
    MAX_COUNTS,
    MAY_BE_ZERO,
    checkpoint_folder,
    fingerprint,
    load_checkpoint,
)
from sleepmem.model.config import SleepConfig
from sleepmem.model.network import SleepForCausalLM
from sleepmem.model.sleep import sleep
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
    assert "sleepmem/tiny-2" in caught.value.hint


def test_fingerprint_stays_when_only_the_writing_library_changes(folder: Path) -> None:
    before = fingerprint(folder)
    config = json.loads((folder / "config.json").read_text())
    config["transformers_version"] = "9.9.9"
    (folder / "config.json").write_text(json.dumps(config, indent=3))
    assert fingerprint(folder) == before == load_checkpoint(str(folder)).fingerprint


@pytest.mark.parametrize("what", ["weights", "config", "loop", "tokenizer", "template"])
def test_fingerprint_covers_all_that_a_snapshot_depends_on(folder: Path, what: str) -> None:
    before = fingerprint(folder)
    if what == "weights":
        tensors = load_file(folder / "model.safetensors")
        tensors["model.norm.weight"][3] += 1e-6
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    elif what in ("config", "loop"):
        other = {"config": {"rope_theta": 9999.0}, "loop": {"num_loop_layers": 2}}[what]
        config = json.loads((folder / "config.json").read_text()) | other
        (folder / "config.json").write_text(json.dumps(config))
    else:
        name = {"tokenizer": "tokenizer.json", "template": "chat_template.jinja"}[what]
        (folder / name).write_text((folder / name).read_text() + " ")
    assert fingerprint(folder) != before


def test_fingerprint_is_that_of_a_checkpoint_that_knows_no_loop_layers_where_there_are_none(
    folder: Path,
) -> None:
    before = fingerprint(folder)
    config = json.loads((folder / "config.json").read_text())
    for config["num_loop_layers"] in (0, None):
        (folder / "config.json").write_text(json.dumps(config))
        assert fingerprint(folder) == before
    del config["num_loop_layers"]
    (folder / "config.json").write_text(json.dumps(config))
    assert fingerprint(folder) == before


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


def test_floor_of_retention_comes_with_the_checkpoint_and_is_no_part_of_its_identity(
    folder: Path,
) -> None:
    before = load_checkpoint(str(folder))
    assert before.retention_floor is None
    rewrite(folder, retention_floor=0.25)
    after = load_checkpoint(str(folder))
    assert after.retention_floor == 0.25
    assert after.fingerprint == before.fingerprint
    for absurd in (-0.1, 1.5, "0.5", True, float("nan"), [0.5]):
        rewrite(folder, retention_floor=absurd)
        assert_refused(folder, "config.json: retention_floor cannot be ")


def test_half_precision_on_disk_runs_in_float32(folder: Path) -> None:
    tensors = {k: v.bfloat16() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    lm = load_checkpoint(str(folder))
    assert {p.dtype for p in lm._lm.parameters()} == {torch.float32}


def test_shipped_names_lead_to_a_folder_with_a_card() -> None:
    folder = checkpoint_folder("sleepmem/tiny-2")
    assert {p.name for p in folder.iterdir()} >= {"config.json", "model.safetensors", "README.md"}
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 16 << 20


def rewrite(folder: Path, **fields: object) -> None:
    """Set fields of the config."""
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))


def assert_refused(folder: Path, match: str = "checkpoint") -> None:
    with pytest.raises(CheckpointInvalid, match=match) as caught:
        load_checkpoint(str(folder))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(folder)) + 300


@pytest.mark.parametrize("more", [-1, 1])
def test_tokenizer_of_another_size_is_refused(folder: Path, make_lm, more: int) -> None:
    lm = make_lm("AG")
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    lm.resize_token_embeddings(size + more, mean_resizing=False)
    lm.save_pretrained(folder)
    assert_refused(folder, f"tokenizer.json: {size} tokens, but the vocab_size .* {size + more}")


def test_tokenizer_with_an_id_beyond_its_size_is_refused(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    more = {"id": 10**6, "content": "far", "special": False, "normalized": False}
    more |= dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    tokenizer["added_tokens"].append(more)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert_refused(folder, "tokenizer.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_not_finite_are_refused(
    folder: Path, value: float, dtype: torch.dtype
) -> None:
    path = folder / "model.safetensors"
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    tensors["model.layers.1.mixer.conv"][3, 0, 1] = value
    save_file(tensors, path, {"format": "pt"})
    assert_refused(folder, "model.layers.1.mixer.conv is not finite")


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.bool, torch.float8_e4m3fn])
def test_weights_of_another_dtype_are_refused(folder: Path, dtype: torch.dtype) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(dtype)
    save_file(tensors, path, {"format": "pt"})
    assert_refused(folder, "model.norm.weight is of dtype")


@pytest.mark.parametrize("name", ["model.norm.weight", "lm_head.weight", "\n../../x" * 99])
def test_weights_of_other_names_are_refused(folder: Path, name: str) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[name] = tensors.pop("model.norm.weight", torch.ones(24)).clone()[:7]
    save_file(tensors, path, {"format": "pt"})
    assert_refused(folder, "model.safetensors")


@pytest.mark.parametrize("n_header", [0, 2, 1 << 21, 1 << 40, (1 << 64) - 1])
def test_weights_with_another_header_length_are_refused(folder: Path, n_header: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(n_header.to_bytes(8, "little") + path.read_bytes()[8:])
    assert_refused(folder)


@pytest.mark.parametrize("name", MAX_COUNTS)
def test_absurd_sizes_are_refused(folder: Path, name: str) -> None:
    absurd = (-1, 10**12, 10**400, 64.0, True, "64", None, [64], float("nan"))
    for size in absurd if name in MAY_BE_ZERO else (0, *absurd):
        rewrite(folder, **{name: size})
        assert_refused(folder, f"config.json: {name} cannot be ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer_types", []),
        ("layer_types", ["full_attention"] * 10_000),
        ("layer_types", ["other", "linear_attention"]),
        ("layer_types", [[], {}]),
        ("layer_types", "AG"),
        ("rope_theta", float("nan")),
        ("rope_theta", 0),
        ("rope_theta", 10**400),
        ("rms_norm_eps", float("inf")),
        ("rms_norm_eps", "1e-6"),
        ("tie_word_embeddings", "no"),
        ("hidden_size", 25),
    ],
)
def test_settings_that_can_never_work_are_refused(folder: Path, name: str, value: object) -> None:
    rewrite(folder, **{name: value})
    assert_refused(folder, f"config.json: {name}")


def test_sizes_within_their_limits_take_no_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of weights that are not in the file, and of fast weights larger than any file."""

    def made(config: SleepConfig) -> SleepForCausalLM:
        assert torch.get_default_device().type == "meta"
        return SleepForCausalLM(config)

    monkeypatch.setattr("sleepmem.model.checkpoint.SleepForCausalLM", made)
    rewrite(folder, hidden_size=32_766, intermediate_size=1 << 17, num_attention_heads=1)
    assert_refused(folder, "instead of")
    rewrite(folder, linear_num_heads=1024, linear_key_head_dim=4096, linear_value_head_dim=4096)
    assert_refused(folder, "bytes of fast weights")


@pytest.mark.parametrize("text", ["[]", "3", "[" * 100_000, '{"a":' * 100_000, "\ud800", ""])
def test_config_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert_refused(folder)


@pytest.mark.parametrize(
    "fields",
    [{"id2label": "x"}, {"to_dict": 3}, {"dtype": "load"}, {"attribute_map": 3}, {"auto_map": {}}],
)
def test_fields_for_transformers_alone_are_left_out(folder: Path, fields: dict) -> None:
    before = load_checkpoint(str(folder)).fingerprint
    rewrite(folder, **fields)
    assert load_checkpoint(str(folder)).fingerprint == before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_huge_text_files_are_not_read(folder: Path, name: str) -> None:
    with (folder / name).open("r+b") as file:
        file.truncate(1 << 40)  # a hole: it takes no room on the disk
    assert_refused(folder, f"{name} has {1 << 40} bytes")


def test_loop_layers_in_a_model_that_is_never_written_to_are_refused(folder: Path) -> None:
    rewrite(folder, layer_types=["full_attention"] * 2, num_loop_layers=1)
    assert_refused(folder, "no layer that is written to")


def test_a_checkpoint_of_a_loop_that_is_gone_is_refused(folder: Path) -> None:
    rewrite(folder, input_injection=True)
    assert_refused(folder, "input_injection")


def test_loop_layers_that_a_checkpoint_lacks_change_nothing_until_they_are_trained(
    folder: Path,
) -> None:
    ids = torch.tensor([[3, 4, 5, 6, 3]])
    plain = SleepForCausalLM.from_pretrained(folder).eval()
    grown = SleepForCausalLM.from_pretrained(folder, num_loop_layers=2).eval()
    h = plain.embed(ids)
    assert torch.equal(grown.model.rewrite(h), h)
    for before, after in zip(
        sleep(plain, plain.model.blank(), ids, 1),
        sleep(grown, grown.model.blank(), ids, 1),
        strict=True,
    ):
        assert torch.equal(before, after)
