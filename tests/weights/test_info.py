"""`vdt-mlx info` and `vdt-mlx models`."""

import hashlib
import json

import mlx.core as mx
import pytest

from vdt_mlx.config import PRESETS, CheckpointConfig, VDTConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network.flops import flops, parameters, parameters_by_part
from vdt_mlx.network.vdt import VDT
from weights.convert import convert
from weights.info import about, memory, network_memory


def test_a_folder(golden, tmp_path, command):
    convert(
        golden / "vdt_tiny.pt",
        tmp_path / "out",
        num_heads=4,
        dtype="fp16",
        quantize=8,
        autoencoders=[golden / "autoencoder_kl", golden / "autoencoder_tiny"],
    )
    status, out, _ = command("info", tmp_path / "out", "--json")
    said = json.loads(out)
    assert status == 0
    assert said["parameters"]["total"] == 224_992 == sum(said["parameters"].values()) - 224_992
    assert said["dtype"] == ["uint32", "fp16"] and said["quantization"] == {"bits": 8, "group_size": 64}
    assert said["pixels"] == [64, 64] and said["vdt"]["latent_size"] == [8, 8]
    tiny = VDTConfig(hidden_size=64, depth=2, num_heads=4, latent_size=(8, 8), num_frames=8)
    assert said["gflops"] == pytest.approx(flops(tiny) / 1e9)
    assert said["autoencoder"]["parameters"]["total"] == 170_775
    assert said["tiny_autoencoder"]["parameters"]["total"] == 155_079
    assert said["provenance"]["source"] == "vdt_tiny.pt"
    assert said["files"] == {path.name: path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors")}
    status, out, err = command("info", tmp_path / "out")
    assert (status, err) == (0, "")
    for text in ("224,992", "8 bits", "kl, widths", "GFLOP", "vdt_tiny.pt", said["provenance"]["sha256"]):
        assert text in out


def test_a_file(golden, derived, command):
    path = derived("vdt_head72_training_checkpoint.pt")
    said = about(path)
    assert said["kind"] == "VDT checkpoint to convert (torch zip)" and said["part"] == "ema"
    assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert said["vdt"]["num_heads"] is None and said["vdt"]["depth"] == 2
    status, out, _ = command("info", path)
    assert status == 0 and "not in the file: convert it with --num-heads" in out and said["sha256"] in out
    said = about(derived("autoencoder_kl_old_names.bin"))
    assert said["kind"] == "autoencoder to convert (diffusers, old names)"
    assert about(golden / "autoencoder_tiny")["autoencoder"]["kind"] == "tiny"


def test_rectangular_file(state_dict, write_pt, tmp_path):
    config = VDTConfig(hidden_size=16, depth=1, num_heads=2, latent_size=(4, 8), num_frames=2)
    said = about(write_pt(tmp_path / "x.pt", state_dict(config)))
    assert said["parameters"]["total"] == parameters(config)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing.pt", "There is no file nothing.pt"),
        ("nothing", "There is no model named 'nothing'"),
        ("masks.npz", "numpy archive"),
    ],
)
def test_what_is_none(name, sentence, golden, command):
    path = golden / name if (golden / name).exists() else name
    status, out, err = command("info", path)
    assert (status, out) == (2, "") and sentence in err and err.count("\n") == 1


def test_damage_is_noticed(golden, tmp_path, hostile):
    data = bytearray(hostile.ZIP)
    data[data.rfind(hostile.RAW["3"])] ^= 1
    (tmp_path / "x.pt").write_bytes(data)
    with pytest.raises(VDTError, match="the checksum of archive/data/3 is wrong"):
        about(tmp_path / "x.pt")


def test_parts_sum_up():
    for config in PRESETS.values():
        assert sum(parameters_by_part(config).values()) == parameters(config)


@pytest.mark.parametrize("quantization", [None, {"bits": 8, "group_size": 64}, {"bits": 4, "group_size": 32}])
def test_memory_of_weights_is_what_mlx_uses(quantization):
    from mlx.utils import tree_flatten

    from vdt_mlx.checkpoint import quantize

    config = CheckpointConfig(
        VDTConfig(hidden_size=64, depth=2, num_heads=4, latent_size=(8, 8)), quantization=quantization
    )
    model = VDT(config.vdt)
    if quantization is not None:
        quantize(model, **quantization)
    held = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
    assert network_memory(config)["weights"] == held


def test_memory_of_a_call_is_about_what_mlx_uses():
    config = VDTConfig(hidden_size=96, depth=2, num_heads=4, latent_size=(16, 16))
    model = VDT(config)
    x = mx.random.normal((1, 16, 16, 16, 4))
    mx.eval(model.parameters(), x)
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(model(x, mx.array([5])))
    measured = mx.get_peak_memory() - before
    assert network_memory(CheckpointConfig(config))["network call"] == pytest.approx(measured, rel=0.4)
    assert set(memory(CheckpointConfig(config))) == {"weights", "network call"}


def test_models(command):
    status, out, _ = command("models")
    assert status == 0
    for text in ("physics", "MIT", "CC BY-NC 4.0", "sd-vae-ft-mse", "TAESD"):
        assert text in out
    status, out, _ = command("models", "--json")
    assert {entry["name"] for entry in json.loads(out)["models"]} == {"physics"}
