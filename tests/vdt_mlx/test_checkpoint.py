"""Checkpoint folders: written whole, read with care."""

import json
import shutil

import mlx.core as mx
import pytest

from vdt_mlx import load_vdt
from vdt_mlx.checkpoint import flat_parameters, load_autoencoder, save_checkpoint
from vdt_mlx.config import VDT_FILE, CheckpointConfig, VDTConfig, read_config
from vdt_mlx.errors import VDTError
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
