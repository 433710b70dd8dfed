"""`vdt-mlx info` and `vdt-mlx models`."""

import hashlib
import json

import mlx.core as mx
import pytest

from vdt_mlx.config import PRESETS, AutoencoderConfig, CheckpointConfig, VDTConfig
from vdt_mlx.device.chunks import frames_at_once
from vdt_mlx.device.kernels import forms
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


def text(command, *arguments):
    status, out, err = command("info", *arguments)
    assert (status, err) == (0, "")
    return out


def test_it_is_short_unless_asked(command):
    short, long = text(command, "physics"), text(command, "physics", "--verbose")
    assert short.count("\n") <= 25 < long.count("\n")
    assert "6,150,384" in short and "Next: vdt-mlx sample --model" in short
    assert "temporal attention" in long and "temporal attention" not in short
    assert all(line.split("  ")[0] in long for line in short.splitlines()[:3])


def test_the_files_of_a_checkpoint_folder(golden, tmp_path, command):
    folder = tmp_path / "out"
    convert(golden / "vdt_tiny.pt", folder, num_heads=4, autoencoders=[golden / "autoencoder_kl"])
    said = about(folder / "vdt.safetensors")
    assert said["kind"] == "network of a checkpoint folder" and said["parameters"]["total"] == 224_992
    assert said["sha256"] == hashlib.sha256((folder / "vdt.safetensors").read_bytes()).hexdigest()
    said = about(folder / "autoencoder.safetensors")
    assert said["kind"] == "autoencoder of a checkpoint folder" and "vdt" not in said
    assert said["autoencoder"]["parameters"]["total"] == 170_775
    assert about(folder / "config.json")["kind"] == "checkpoint folder"
    with pytest.raises(VDTError, match="There is no file"):
        about(folder / "tiny_autoencoder.safetensors")
    (folder / "tiny_autoencoder.safetensors").write_bytes((folder / "autoencoder.safetensors").read_bytes())
    with pytest.raises(VDTError, match="not a part of the checkpoint"):
        about(folder / "tiny_autoencoder.safetensors")


def test_a_training_run(golden, tmp_path, command):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"kind": "vdt", "config": {"name": "mine", "loop": {"steps": 90}}}))
    said = text(command, run)
    assert "training run" in said and "0 of 90" in said and "none yet" in said
    lines = ({"step": 7, "loss": 0.5}, {"step": 8, "preview": {"psnr": 20.5}})
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, "lo')
    state = run / "states" / "step-00000008" / "state.safetensors"
    state.parent.mkdir(parents=True)
    mx.save_safetensors(str(state), {"model/a": mx.zeros((3, 4)), "ema/a": mx.zeros((3, 4))}, {"step": "8"})
    convert(golden / "vdt_tiny.pt", run / "checkpoint", num_heads=4, autoencoders=[golden / "autoencoder_kl"])
    for given in (run, run / "run.json"):
        said = text(command, given)
        for part in ("8 of 90", "last loss", "0.5", "psnr 20.5", "step-00000008", "224,992", "Next: vdt-mlx sample"):
            assert part in said
        assert said.count("\n") <= 25
    said = about(state)
    assert said["state"] == {"step": "8", "numbers": {"ema": 12, "model": 12}}
    assert "training state" in text(command, state)
    (run / "run.json").write_text("[]")
    with pytest.raises(VDTError, match="does not describe a training run"):
        about(run)


def test_a_data_set(tmp_path, command):
    out = tmp_path / "clips"
    assert (
        command("simulate", "--scenario", "uniform", "--clips", 3, "--shard", 2, "--size", "32", "--out", out)[0] == 0
    )
    for given in (out, out / "index.json"):
        said = text(command, given)
        for part in ("data set of simulated clips", "3 of 16 frames", "uniform", "train", "fingerprint"):
            assert part in said
    (shard,) = sorted(out.glob("*.tar"))[:1]
    shard.unlink()
    assert f"missing files          {shard.name}" in text(command, out)
    (out / "index.json").write_text('{"format": "x"')
    status, _, err = command("info", out)
    assert status == 2 and "is not JSON" in err


def test_an_autoencoder_run(golden, tmp_path):
    """A run of an autoencoder saves a checkpoint without a network."""
    convert(golden / "vdt_tiny.pt", tmp_path / "a", num_heads=4, autoencoders=[golden / "autoencoder_kl"])
    (tmp_path / "a" / "vdt.safetensors").unlink()
    said = about(tmp_path / "a")
    assert said["kind"] == "checkpoint folder with an autoencoder alone" and "vdt" not in said


def test_an_altered_file_and_an_absurd_configuration(golden, tmp_path):
    convert(golden / "vdt_tiny.pt", tmp_path / "a", num_heads=4)
    body = json.loads((tmp_path / "a" / "config.json").read_text())
    body["vdt"]["latent_size"] = [90_000, 90_000]
    (tmp_path / "a" / "config.json").write_text(json.dumps(body))
    with pytest.raises(VDTError, match="does not fit its configuration"):
        about(tmp_path / "a")


def test_foreign_text_does_not_reach_the_terminal(golden, tmp_path, command):
    convert(golden / "vdt_tiny.pt", tmp_path / "a", num_heads=4)
    body = json.loads((tmp_path / "a" / "config.json").read_text())
    body["training"] = {"machine": "\x1b[2J", "steps": [1], "splits": 5}
    (tmp_path / "a" / "config.json").write_text(json.dumps(body))
    for flags in ((), ("--verbose",)):
        assert "\x1b" not in text(command, tmp_path / "a", *flags)


def test_a_network_in_pieces(golden, read_tensors, tmp_path, command):
    weights, table = read_tensors(golden / "vdt_tiny.pt"), {}
    for number in (1, 2):
        names = sorted(weights)[number - 1 :: 2]
        piece = f"x-0000{number}-of-00002.safetensors"
        mx.save_safetensors(str(tmp_path / piece), {name: mx.array(weights[name]) for name in names})
        table |= dict.fromkeys(names, piece)
    index = tmp_path / "x.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    for given in (index, tmp_path):
        said = about(given)
        pieces = sorted(tmp_path.glob("*.safetensors"))
        assert said["parameters"]["total"] == 224_992
        assert said["files"] == {path.name: path.stat().st_size for path in pieces}
        assert said["checksums"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in pieces}
    assert all(digest in text(command, index, "--verbose") for digest in said["checksums"].values())


def test_memory_of_decoding_is_that_of_the_device(cpu):
    """A CPU unrolls convolutions; a GPU holds activations alone, and takes as many frames as it has room for."""
    config = CheckpointConfig(PRESETS["VDT-S/2"], autoencoder=AutoencoderConfig())
    side = 8 * config.vdt.latent_size[0]
    with forms("gpu"):
        frames = min(frames_at_once(config.autoencoder, side, side), config.vdt.num_frames)
        assert memory(config)[f"decoding {frames} frames"] == frames * 4 * 8 * 256 * side * side
    (decoding,) = (size for name, size in memory(config).items() if name.startswith("decoding"))
    assert decoding == config.autoencoder.frames_at_once(side, side) * 4 * 38 * 256 * side * side
