"""Checkpoint folders: written whole, read with care."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import pytest

from vdt_mlx import load_vdt
from vdt_mlx.checkpoint import SUMS, flat_parameters, load_autoencoder, save_checkpoint, write_sums
from vdt_mlx.config import VDT_FILE, CheckpointConfig, VDTConfig, read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.files import sha256
from vdt_mlx.network.vdt import VDT


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "copy")


def test_there_and_back(tmp_path) -> None:
    config = CheckpointConfig(vdt=VDTConfig(hidden_size=32, depth=1, num_heads=2, latent_size=(4, 6)))
    model = VDT(config.vdt)
    save_checkpoint(tmp_path / "m", config, flat_parameters(model))
    again = load_vdt(tmp_path / "m")
    assert read_config(tmp_path / "m") == config
    for name, value in flat_parameters(model).items():
        assert mx.array_equal(value, flat_parameters(again)[name])


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_dtypes(folder, dtype) -> None:
    x = mx.random.normal((1, 16, 8, 8, 4))
    assert mx.isfinite(load_vdt(folder, dtype)(x, mx.array([3.0]))).all()


@pytest.mark.parametrize("name", ["config.json", "vdt.safetensors"])
def test_a_missing_file_is_named(folder, name) -> None:
    (folder / name).unlink()
    with pytest.raises(VDTError, match=name):
        load_vdt(folder)


def test_no_folder_and_no_autoencoder(folder, tmp_path) -> None:
    with pytest.raises(VDTError, match="no checkpoint folder"):
        load_vdt(tmp_path / "nowhere")
    (folder / "autoencoder.safetensors").unlink()
    with pytest.raises(VDTError, match=r"autoencoder\.safetensors"):
        load_autoencoder(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, 5000])
def test_a_file_cut_short(folder, keep) -> None:
    path = folder / VDT_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(VDTError, match=r"vdt\.safetensors"):
        load_vdt(folder)


def test_missing_unexpected_and_misshapen_tensors_are_all_listed(folder) -> None:
    weights = dict(mx.load(str(folder / VDT_FILE)))
    weights["stranger"] = weights.pop("final_layer.linear.bias")
    weights["t_embedder.mlp.0.bias"] = mx.zeros(7)
    mx.eval(weights)
    mx.save_safetensors(str(folder / VDT_FILE), weights)
    with pytest.raises(VDTError) as caught:
        load_vdt(folder)
    for name in ("stranger", "final_layer.linear.bias", "t_embedder.mlp.0.bias (7,)"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vdt": {"hidden_siz": 64}}, "hidden_size"),
        ({"vdt": {"hidden_size": "64"}}, "hidden_size"),
        ({"vdt": {"hidden_size": True}}, "hidden_size"),
        ({"vdt": {"hidden_size": 30}}, "divide"),
        ({"vdt": {"latent_size": [3, 8]}}, "patches"),
        ({"vdt": {"depth": 0}}, "positive"),
        ({"format": "other"}, "not a vdt-mlx"),
        ({"version": 99}, "version"),
        ({"diffusion": {"schedule": "flow"}}, "flow"),
        ({"extra": 1}, "extra"),
        ({"autoencoder": {"kind": "vq"}}, "vq"),
    ],
)
def test_bad_configurations(folder, change, said) -> None:
    body = json.loads((folder / "config.json").read_text())
    for key, value in change.items():
        body[key] = {**body.get(key, {}), **value} if isinstance(value, dict) and key != "diffusion" else value
    (folder / "config.json").write_text(json.dumps(body))
    with pytest.raises(VDTError, match=said):
        read_config(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "null", '{"format": "vdt-mlx", "version": 1}'])
def test_not_a_configuration(folder, text) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(VDTError, match=r"config\.json"):
        read_config(folder)


def test_an_existing_folder_is_only_replaced_when_asked(folder) -> None:
    config = read_config(folder)
    before = (folder / VDT_FILE).read_bytes()
    with pytest.raises(FileExistsError):
        save_checkpoint(folder, config, {"x": mx.zeros(1)})
    assert (folder / VDT_FILE).read_bytes() == before
    save_checkpoint(folder, config, {"x": mx.zeros(1)}, replace=True)
    assert list(mx.load(str(folder / VDT_FILE))) == ["x"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def lie(path, change):
    """Rewrites the header of a safetensors file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    change(header)
    body = json.dumps(header).encode()
    path.write_bytes(len(body).to_bytes(8, "little") + body + data[8 + size :])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda h: h["blocks.0.attn.qkv.bias"].update(h["blocks.0.temporal_attn.qkv.bias"]),
            "overlap or leave holes",
        ),
        (lambda h: h["pos_embed"].update(dtype="I32"), "pos_embed is of the type int32"),
        (lambda h: h["pos_embed"].update(dtype="F8_E4M3"), "F8_E4M3', which is not supported"),
        (lambda h: h["pos_embed"]["data_offsets"].reverse(), "which is not what its shape needs"),
        (lambda h: h.update(__metadata__={"a": 1}), "not a table of texts"),
        (lambda h: h.pop("pos_embed"), "overlap or leave holes"),
    ],
)
def test_our_own_files_are_read_as_strictly_as_others(change, sentence, folder):
    lie(folder / VDT_FILE, change)
    with pytest.raises(VDTError, match=sentence):
        load_vdt(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"latent_size": [50_000, 50_000]},
        {"num_frames": 100_000},
        {"depth": 1000},
        {"hidden_size": 100_000, "num_heads": 1},
        {"latent_size": [90_000, 90_000], "depth": 1000, "hidden_size": 99_996, "num_heads": 1},
    ],
)
def test_a_small_file_cannot_ask_for_a_large_network(change, folder):
    body = json.loads((folder / "config.json").read_text())
    body["vdt"].update(change)
    (folder / "config.json").write_text(json.dumps(body))
    mx.reset_peak_memory()
    with pytest.raises(VDTError, match="does not fit its configuration"):
        load_vdt(folder)
    assert mx.get_peak_memory() < 100e6


def test_checksums_are_compared(folder):
    write_sums(folder)
    load_vdt(folder)
    data = bytearray((folder / VDT_FILE).read_bytes())
    data[-1] ^= 1
    (folder / VDT_FILE).write_bytes(data)
    with pytest.raises(VDTError, match=r"not the file whose checksum stands in SHA256SUMS.*damaged or replaced"):
        load_vdt(folder)
    (folder / SUMS).unlink()
    load_vdt(folder)


def test_the_shipped_weights_have_checksums():
    folder = Path("weights/physics")
    sums = dict(reversed(line.split()) for line in (folder / SUMS).read_text().splitlines())
    assert sums == {path.name: sha256(path) for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize(
    ("section", "change", "sentence"),
    [
        ("vdt", {"mlp_ratio": 1e-9}, "leaves an MLP"),
        ("vdt", {"depth": 10**6}, "depth"),
        ("diffusion", {"num_train_steps": 10**12}, "num_train_steps must be"),
        ("diffusion", {"steps": 0}, "steps must be"),
        ("diffusion", {"beta_start": 0.5, "beta_end": 0.1}, "betas must rise"),
        ("autoencoder", {"block_out_channels": []}, "levels"),
        ("autoencoder", {"block_out_channels": [10**9]}, "channels"),
        ("autoencoder", {"latent_channels": -4}, "channels"),
        ("autoencoder", {"norm_num_groups": 0}, "groups"),
        ("autoencoder", {"layers_per_block": [10**9, 2]}, "blocks"),
        (
            "autoencoder",
            {"kind": "kl", "block_out_channels": [30], "num_encoder_blocks": None},
            "do not divide|for the kind",
        ),
        ("autoencoder", {"scaling_factor": -1}, "scaling_factor"),
        ("autoencoder", {"latent_mean": [0.0] * 4, "latent_std": [0.0] * 4}, "latent_std"),
        ("quantization", {"bits": 5, "group_size": 64}, "quantization says"),
        ("quantization", {"bits": 8}, "quantization says"),
        ("quantization", {"bits": 8, "group_size": 64, "more": 1}, "quantization says"),
        ("training", {"steps": 10**30}, "more than 64 bits"),
    ],
)
def test_absurd_configurations(section, change, sentence, folder):
    body = json.loads((folder / "config.json").read_text())
    body[section] = {**(body.get(section) or {}), **change}
    (folder / "config.json").write_text(json.dumps(body))
    with pytest.raises(VDTError, match=sentence):
        read_config(folder)


def test_a_configuration_nested_without_end(folder):
    (folder / "config.json").write_text('{"vdt": ' + "[" * 100_000)
    with pytest.raises(VDTError, match="nested"):
        read_config(folder)
