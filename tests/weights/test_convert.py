"""Checkpoints into folders: golden parity, inference, precision, quantization, and every refusal."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vdt_mlx.checkpoint import flat_parameters, load_vdt
from vdt_mlx.checkpoint import quantize as quantize_model
from vdt_mlx.config import LAST, PRESETS, CheckpointConfig, VDTConfig, read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.network.flops import parameters
from weights.convert import convert
from weights.formats.source import open_source
from weights.formats.tensors import to_mlx_shape
from weights.names.vdt import KERNEL, configure, infer_vdt, vdt_shapes

TINY = VDTConfig(hidden_size=64, depth=2, num_heads=4, latent_size=(8, 8), num_frames=8)
SMALL = VDTConfig(hidden_size=16, depth=1, num_heads=2, latent_size=(4, 4), num_frames=3)


def forward(folder, recorded):
    """The network of a folder on recorded inputs, in the official layout."""
    x, t = (mx.array(value) for value in (recorded["x"].transpose(0, 1, 3, 4, 2), recorded["t"]))
    return np.array(load_vdt(folder)(x, t)).transpose(0, 1, 4, 2, 3)


@pytest.mark.parametrize(
    ("name", "recorded", "heads", "tolerance"),
    [
        ("vdt_tiny.pt", "vdt_tiny.npz", 4, 1e-4),
        ("vdt_head72.pt", "vdt_head72.npz", 2, 1e-4),
        ("vdt_head72_ddp.pt", "vdt_tiny.npz", 4, 1e-4),
        ("vdt_head72_legacy_format.pt", "vdt_tiny.npz", 4, 1e-4),
        ("vdt_head72_training_checkpoint.pt", "vdt_tiny.npz", 4, 1e-4),
        ("vdt_head72_bf16.pt", "vdt_tiny.npz", 4, 2e-2),  # the weights themselves are rounded to 8 bits
    ],
)
def test_golden_parity(name, recorded, heads, tolerance, derived, golden, tmp_path):
    convert(derived(name), tmp_path / "out", num_heads=heads)
    with np.load(golden / recorded) as arrays:
        assert np.abs(forward(tmp_path / "out", arrays) - arrays["y"]).max() <= tolerance


def test_the_official_sizes_and_names():
    assert len(vdt_shapes(PRESETS["VDT-L/2"])) == 517
    assert len(vdt_shapes(PRESETS["VDT-S/2"])) == 229
    counts = {("VDT-L/2", 32): 860_017_568, ("VDT-L/2", 16): 859_796_384}
    counts |= {("VDT-S/2", 32): 41_465_504, ("VDT-S/2", 16): 41_391_776}
    for (name, side), count in counts.items():
        config = replace(PRESETS[name], latent_size=(side, side))
        assert sum(int(np.prod(shape)) for shape in vdt_shapes(config).values()) == count == parameters(config)


@pytest.mark.parametrize("name", ["VDT-S/2", "VDT-L/2"])
def test_presets_are_recognised(name):
    """By their shapes alone, heads included: no tensor is made."""
    assert infer_vdt(vdt_shapes(PRESETS[name]), "x") == PRESETS[name]


@st.composite
def configs(draw):
    heads = draw(st.integers(1, 3))
    patch = draw(st.sampled_from((1, 2, 4)))
    side = patch * draw(st.integers(1, 3))
    return VDTConfig(
        hidden_size=4 * heads * draw(st.integers(1, 4)),
        depth=draw(st.integers(1, 3)),
        num_heads=heads,
        patch_size=patch,
        in_channels=draw(st.integers(1, 5)),
        latent_size=(side, side),
        num_frames=draw(st.integers(1, 5)),
        num_classes=draw(st.integers(1, 3)),
        learn_sigma=draw(st.booleans()),
        mlp_ratio=draw(st.sampled_from((1.0, 2.5, 4.0))),
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=configs(), seed=st.integers(0, 99), suffix=st.sampled_from(("pt", "module", "compiled", "parts")))
def test_convert_then_load_gives_the_same(config, seed, suffix, state_dict, write_pt, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    weights = state_dict(config, seed)
    prefix = {"module": "module.", "compiled": "module._orig_mod."}.get(suffix, "")
    write_pt(folder / "x.pt", {prefix + name: value for name, value in weights.items()})
    done = convert(folder / "x.pt", folder / "out", num_heads=config.num_heads)
    assert done.config.vdt == replace(config, mlp_ratio=done.config.vdt.mlp_ratio)
    assert int(config.hidden_size * done.config.vdt.mlp_ratio) == int(config.hidden_size * config.mlp_ratio)
    model = load_vdt(folder / "out")
    loaded = flat_parameters(model)
    assert set(loaded) == set(weights)
    for name, value in weights.items():
        wanted = value.transpose(0, 2, 3, 1) if name == KERNEL else value
        np.testing.assert_array_equal(np.array(loaded[name]), wanted)
        assert to_mlx_shape(value.shape) == wanted.shape
    x = mx.random.normal((1, config.num_frames, *config.latent_size, config.in_channels))
    assert model(x, mx.array([5])).shape == (*x.shape[:-1], config.out_channels)


def test_rectangles_ask_for_their_size(state_dict, write_pt, tmp_path):
    config = replace(SMALL, latent_size=(4, 8))
    write_pt(tmp_path / "x.pt", state_dict(config))
    with pytest.raises(VDTError, match=r"8 positions a frame, which is no square: .* `latent_size`"):
        convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2)
    with pytest.raises(VDTError, match="`latent_size` 4x4 does not fit"):
        convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2, latent_size=(4, 4))
    done = convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2, latent_size=(4, 8))
    assert done.config.vdt == config


def test_heads_are_asked_for_by_name(golden, tmp_path):
    with pytest.raises(VDTError, match="give it with `num_heads`"):
        convert(golden / "vdt_tiny.pt", tmp_path / "out")
    with pytest.raises(VDTError, match="`num_heads` 5 does not divide"):
        convert(golden / "vdt_tiny.pt", tmp_path / "out", num_heads=5)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_precisions(dtype, state_dict, write_pt, tmp_path):
    weights = state_dict(SMALL)
    write_pt(tmp_path / "x.pt", weights)
    convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2, dtype=dtype)
    kinds = {"fp32": mx.float32, "fp16": mx.float16, "bf16": mx.bfloat16}
    found = mx.load(str(tmp_path / "out" / "vdt.safetensors"))
    for name, value in weights.items():
        wanted = mx.array(value.transpose(0, 2, 3, 1) if name == KERNEL else value).astype(kinds[dtype])
        assert found[name].dtype == kinds[dtype]
        assert mx.array_equal(found[name], wanted)


def test_the_precision_of_the_source_is_kept(state_dict, write_pt, tmp_path):
    weights = {name: value.astype(np.float16) for name, value in state_dict(SMALL).items()}
    write_pt(tmp_path / "x.pt", weights)
    convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2)
    found = mx.load(str(tmp_path / "out" / "vdt.safetensors"))
    assert all(value.dtype == mx.float16 for value in found.values())
    double = {name: value.astype(np.float64) for name, value in weights.items()}
    write_pt(tmp_path / "y.pt", double)
    convert(tmp_path / "y.pt", tmp_path / "other", num_heads=2)
    found = mx.load(str(tmp_path / "other" / "vdt.safetensors"))
    np.testing.assert_array_equal(np.array(found["pos_embed"]), double["pos_embed"].astype(np.float32))


def test_too_large_for_fp16(state_dict, write_pt, tmp_path):
    weights = state_dict(SMALL)
    weights["blocks.0.mlp.fc1.bias"][3] = 70_000
    write_pt(tmp_path / "x.pt", weights)
    with pytest.raises(VDTError, match=r"fc1.bias holds numbers too large for fp16"):
        convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2, dtype="fp16")
    convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2, dtype="bf16")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [None, "fp16", "bf16"])
def test_nonfinite_weights(value, dtype, state_dict, write_pt, tmp_path):
    weights = state_dict(SMALL)
    weights["blocks.0.attn.proj.weight"][2, 3] = value
    write_pt(tmp_path / "x.pt", weights)
    with pytest.raises(VDTError, match=r"attn.proj.weight holds NaN or infinite numbers.*`allow_nonfinite`"):
        convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2, dtype=dtype)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]
    convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2, dtype=dtype, allow_nonfinite=True)
    found = np.array(mx.load(str(tmp_path / "out" / "vdt.safetensors"))["blocks.0.attn.proj.weight"].astype(mx.float32))
    np.testing.assert_array_equal(found[2, 3], value)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", [None, "fp16"])
def test_quantized_as_mlx_does_it(bits, dtype, golden, tmp_path):
    """The same tensors as quantizing the loaded network gives, and they load."""
    convert(golden / "vdt_tiny.pt", tmp_path / "plain", num_heads=4, dtype=dtype)
    done = convert(golden / "vdt_tiny.pt", tmp_path / "out", num_heads=4, dtype=dtype, quantize=bits)
    assert done.config.quantization == {"bits": bits, "group_size": 64}
    model = load_vdt(tmp_path / "plain", None)
    quantize_model(model, **done.config.quantization)
    wanted, found = flat_parameters(model), mx.load(str(tmp_path / "out" / "vdt.safetensors"))
    assert set(wanted) == set(found)
    for name, value in wanted.items():
        assert mx.array_equal(value, found[name]), name
    with np.load(golden / "vdt_tiny.npz") as arrays:
        scale = np.abs(arrays["y"]).max()
        assert np.abs(forward(tmp_path / "out", arrays) - arrays["y"]).max() < {8: 0.02, 4: 0.25}[bits] * scale


def test_folders_whose_last_layer_is_packed_too_still_load(golden, tmp_path):
    """As earlier versions made them."""
    convert(golden / "vdt_tiny.pt", tmp_path / "plain", num_heads=4)
    done = convert(golden / "vdt_tiny.pt", tmp_path / "out", num_heads=4, quantize=8)
    file = tmp_path / "out" / "vdt.safetensors"
    assert f"{LAST}.scales" not in mx.load(str(file))
    model = load_vdt(tmp_path / "plain", None)
    quantize_model(model, **done.config.quantization, last=True)
    mx.save_safetensors(str(file), flat_parameters(model))
    assert f"{LAST}.scales" in mx.load(str(file))
    x, t = mx.random.normal((1, 8, 8, 8, 4)), mx.array([500])
    assert mx.array_equal(load_vdt(tmp_path / "out")(x, t), model(x, t))


def test_a_packed_last_layer_whose_width_does_not_divide_is_refused(golden, tmp_path):
    convert(golden / "vdt_head72.pt", tmp_path / "out", num_heads=2, quantize=8)
    file = tmp_path / "out" / "vdt.safetensors"
    mx.save_safetensors(str(file), {**mx.load(str(file)), f"{LAST}.scales": mx.zeros((16, 2))})
    with pytest.raises(VDTError, match=r"does not fit its config\.json"):
        load_vdt(tmp_path / "out")


def test_only_the_layers_that_divide_are_quantized(golden, tmp_path):
    done = convert(golden / "vdt_head72.pt", tmp_path / "out", num_heads=2, quantize=8)  # width 144 = 4.5 groups of 32
    found = mx.load(str(tmp_path / "out" / "vdt.safetensors"))
    packed = sorted(name for name in found if name.endswith(".scales"))
    assert done.config.quantization == {"bits": 8, "group_size": 64}
    assert packed == ["blocks.0.mlp.fc2.scales", "t_embedder.mlp.0.scales"]
    load_vdt(tmp_path / "out")


def test_nothing_to_quantize(tmp_path, state_dict, write_pt):
    from weights.stream import choose_group

    with pytest.raises(VDTError, match="none of its widths divides by 64 or 32"):
        choose_group([(12, 12), (24, 12)], "x")
    assert choose_group([(96, 96), (96, 96), (10, 64)], "x") == 32


def test_provenance(golden, tmp_path):
    import hashlib

    convert(golden / "vdt_tiny.pt", tmp_path / "out", num_heads=4)
    digest = hashlib.sha256((golden / "vdt_tiny.pt").read_bytes()).hexdigest()
    said = read_config(tmp_path / "out").provenance
    assert (said["source"], said["sha256"], said["format"]) == ("vdt_tiny.pt", digest, "torch zip")
    assert said["converter"].startswith("vdt-mlx ") and said["date"].endswith("Z")
    with open_source(tmp_path / "out" / "vdt.safetensors") as file:
        assert file.metadata["source_sha256"] == digest
        assert file.metadata["source"] == "vdt_tiny.pt"


def test_safetensors_under_the_official_names(golden, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    with open_source(golden / "vdt_tiny.pt") as file:
        weights = {name: np.array(tensor.array()) for name, tensor in file.tensors.items()}
    safetensors.save_file(weights, tmp_path / "x.safetensors")
    convert(tmp_path / "x.safetensors", tmp_path / "out", num_heads=4)
    convert(golden / "vdt_tiny.pt", tmp_path / "other", num_heads=4)
    one, other = (safetensors.load_file(tmp_path / name / "vdt.safetensors") for name in ("out", "other"))
    assert set(one) == set(other)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    with pytest.raises(VDTError, match="drop `which`"):
        convert(tmp_path / "x.safetensors", tmp_path / "third", num_heads=4, which="ema")


def test_a_folder_of_ours_is_a_source(golden, tmp_path):
    convert(golden / "vdt_tiny.pt", tmp_path / "a", num_heads=4, autoencoders=[golden / "autoencoder_kl"])
    done = convert(tmp_path / "a", tmp_path / "b", dtype="fp16", autoencoders=[golden / "autoencoder_tiny"])
    assert done.config.vdt == TINY and done.config.autoencoder.kind == "kl"
    assert done.config.tiny_autoencoder.kind == "tiny"
    assert done.config.provenance["before"]["source"] == "vdt_tiny.pt"
    one, other = (mx.load(str(tmp_path / name / "vdt.safetensors")) for name in ("a", "b"))
    assert all(mx.array_equal(one[name].astype(mx.float16), other[name]) for name in one)
    kl = [mx.load(str(tmp_path / name / "autoencoder.safetensors")) for name in ("a", "b")]
    assert all(mx.array_equal(kl[0][name], kl[1][name]) for name in kl[0])
    with pytest.raises(VDTError, match="drop `which`, `num_heads`"):
        convert(tmp_path / "a", tmp_path / "c", num_heads=4)
    with pytest.raises(VDTError, match="is the weights file of an MLX checkpoint"):
        convert(tmp_path / "a" / "vdt.safetensors", tmp_path / "c", num_heads=4)
    convert(tmp_path / "a", tmp_path / "q", quantize=8)
    with pytest.raises(VDTError, match="is quantized"):
        convert(tmp_path / "q", tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: w.pop("blocks.0.attn.qkv.bias"), r"missing: blocks\.0\.attn\.qkv\.bias"),
        (lambda w: w.update(extra=np.ones(3, np.float32)), "unexpected: extra"),
        (
            lambda w: w.update({"blocks.0.mlp.fc2.bias": np.ones(7, np.float32)}),
            r"of another shape: blocks\.0\.mlp\.fc2\.bias \(7,\) instead of \(16,\)",
        ),
        (lambda w: w.pop("x_embedder.proj.weight"), "has no tensor x_embedder.proj.weight"),
        (lambda w: w.update({"final_layer.linear.weight": np.ones((5, 16), np.float32)}), "final layer has 5 outputs"),
        (lambda w: w.update({"pos_embed": np.ones(7, np.float32)}), r"its pos_embed has the shape \(7,\)"),
        (
            lambda w: w.update({"temporal": w.pop("blocks.0.temporal_fc.bias"), "b": w.pop("blocks.0.attn.proj.bias")}),
            "missing: blocks.0.attn.proj.bias, blocks.0.temporal_fc.bias; unexpected: temporal, b",
        ),
        (lambda w: w.update({"time_embed": np.ones((1, 3, 16), np.int64)}), "type int64"),
        (lambda w: w.update({"module.time_embed": w["time_embed"]}), "twice, under two prefixes"),
    ],
)
def test_tensors_that_do_not_fit_are_listed(change, sentence, state_dict, write_pt, tmp_path):
    weights = state_dict(SMALL)
    change(weights)
    write_pt(tmp_path / "x.pt", weights)
    with pytest.raises(VDTError, match=sentence):
        convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def test_a_flipped_bit_in_a_weight_is_noticed(golden, tmp_path):
    data = bytearray((golden / "vdt_tiny.pt").read_bytes())
    data[500_000] ^= 1
    (tmp_path / "x.pt").write_bytes(data)
    with pytest.raises(VDTError, match=r"the checksum of vdt_tiny/data/.* is wrong"):
        convert(tmp_path / "x.pt", tmp_path / "out", num_heads=4)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def test_a_configuration_that_lies(golden, tmp_path, hostile):
    """Our exports carry theirs; one that does not fit the tensors, or is absurd, is refused."""
    for change, sentence in (
        ({"depth": 10**9}, "depth"),
        ({"depth": 3}, "missing: blocks.1"),
        ({"num_heads": "two"}, "num_heads"),
        ({"hidden_size": 16}, "of another shape"),
    ):
        config = {"hidden_size": 8, "depth": 1, "num_heads": 2, "latent_size": [4, 4], "num_frames": 2, **change}
        text = json.dumps({"format": "vdt-mlx", "version": 1, "vdt": config})
        (tmp_path / "x.pt").write_bytes(hostile.zipped(hostile.PICKLE, **{"vdt_mlx.json": text.encode()}))
        with open_source(tmp_path / "x.pt") as file, pytest.raises(VDTError, match=sentence):
            configure(file)


def test_destinations(golden, tmp_path):
    source = golden / "vdt_tiny.pt"
    convert(source, tmp_path / "out", num_heads=4)
    before = (tmp_path / "out" / "config.json").read_bytes()
    with pytest.raises(VDTError, match="exists; `force` replaces it"):
        convert(source, tmp_path / "out", num_heads=4)
    with pytest.raises(VDTError, match="`num_heads`"):
        convert(source, tmp_path / "out", force=True)
    assert (tmp_path / "out" / "config.json").read_bytes() == before
    convert(source, tmp_path / "out", num_heads=2, force=True)
    assert read_config(tmp_path / "out").vdt.num_heads == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(VDTError, match="holds other things than a checkpoint"):
        convert(source, tmp_path / "mine", num_heads=4, force=True)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(VDTError, match="not a folder"):
        convert(source, tmp_path / "file", num_heads=4, force=True)
    with pytest.raises(VDTError, match="is not a folder"):
        convert(source, tmp_path / "file" / "below", num_heads=4)
    assert (tmp_path / "file").read_text() == (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_a_full_disk_is_said_before_writing(golden, tmp_path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(VDTError, match="MB of the disk are free"):
        convert(golden / "vdt_tiny.pt", tmp_path / "out", num_heads=4)


def test_an_interrupt_leaves_nothing(golden, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(golden / "vdt_tiny.pt", tmp_path / "out", num_heads=4, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_tensors_and_bytes(golden, tmp_path):
    seen = []
    convert(golden / "vdt_tiny.pt", tmp_path / "out", num_heads=4, progress=lambda *values: seen.append(values))
    assert [values[0] for values in seen] == list(range(1, 50))
    assert seen[-1] == (49, 49, 4 * parameters(TINY), 4 * parameters(TINY))


def test_memory_stays_small(tmp_path):
    """A checkpoint of 165 MB converts in a process that grows by far less."""
    from evals.speed.converter import measure_convert

    small, large = (measure_convert(tmp_path, name) for name in ("physics", "VDT-S/2"))
    assert large["bytes"] - small["bytes"] > 100e6
    assert large["peak_rss"] - small["peak_rss"] < 60e6
    assert large["peak_rss"] < 250e6
    assert list(tmp_path.iterdir()) == []


def test_command_line(golden, derived, tmp_path, command):
    status, out, err = command("convert", golden / "vdt_tiny.pt", tmp_path / "out")
    assert (status, out) == (2, "") and "--num-heads" in err and err.count("\n") == 1
    status, out, err = command("convert", golden / "vdt_tiny.pt", tmp_path / "out", "--num-heads", "4")
    assert (status, err) == (0, "") and "49 tensors" in out and "no autoencoder" in out
    assert command("convert", golden / "vdt_tiny.pt", tmp_path / "out", "--num-heads", "4")[0] == 2
    status, out, _ = command(
        "convert", golden / "vdt_tiny.pt", tmp_path / "out", "--num-heads=4", "--force", "--json",
        "--autoencoder", golden / "autoencoder_kl", "--autoencoder", golden / "autoencoder_tiny",
    )  # fmt: skip
    body = json.loads(out)
    assert status == 0 and CheckpointConfig.from_json(json.dumps(body["config"])).vdt == TINY
    for flags, sentence in (
        (["--norm-groups", "4"], "give one with --autoencoder"),
        (["--latent-size", "8"], "not a height and a width"),
        (["--quantize", "3"], "'3' is not one of"),
        (["--which", "ema"], "drop --which"),
        (["--autoencoder", golden / "masks.npz"], "numpy archive"),
        (
            ["--autoencoder", golden / "autoencoder_kl", "--autoencoder", golden / "autoencoder_kl"],
            "twice for the same",
        ),
    ):
        status, out, err = command("convert", golden / "vdt_tiny.pt", tmp_path / "x", "--num-heads", "4", *flags)
        assert (status, out) == (2, "") and sentence in err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("layout", ["PyTorch's", "MLX's"])
@pytest.mark.parametrize("metadata", [None, {"format": "mlx"}])
def test_files_that_mlx_itself_wrote(layout, metadata, golden, tmp_path):
    """`mx.save_safetensors` stores no metadata as null; what it saves may be our own parameters, kernels and all."""
    convert(golden / "vdt_tiny.pt", tmp_path / "a", num_heads=4)
    weights = mx.load(str(tmp_path / "a" / "vdt.safetensors"))
    if layout == "PyTorch's":
        weights[KERNEL] = weights[KERNEL].transpose(0, 3, 1, 2)
    path = tmp_path / "mine.safetensors"
    mx.save_safetensors(str(path), weights, metadata) if metadata else mx.save_safetensors(str(path), weights)
    assert metadata or b'"__metadata__":null' in path.read_bytes()[:60]
    done = convert(path, tmp_path / "b", num_heads=4)
    assert done.config.vdt == TINY
    again = mx.load(str(tmp_path / "b" / "vdt.safetensors"))
    first = mx.load(str(tmp_path / "a" / "vdt.safetensors"))
    assert all(mx.array_equal(first[name], again[name]) for name in first)


def test_a_network_in_pieces(golden, tmp_path):
    with open_source(golden / "vdt_tiny.pt") as file:
        weights = {f"model.{name}": mx.array(np.array(tensor.array())) for name, tensor in file.tensors.items()}
    names, table = sorted(weights), {}
    for number in (1, 2):
        piece = f"model-{number:05d}-of-00002.safetensors"
        mx.save_safetensors(str(tmp_path / piece), {name: weights[name] for name in names[number - 1 :: 2]})
        table |= dict.fromkeys(names[number - 1 :: 2], piece)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    done = convert(tmp_path, tmp_path / "out", num_heads=4)
    assert done.config.vdt == TINY and len(done.config.provenance["with"]) == 1
    assert "Takes off the names what wrappers put there: 'model.'." in done.notes
    convert(golden / "vdt_tiny.pt", tmp_path / "other", num_heads=4)
    one, other = (mx.load(str(tmp_path / name / "vdt.safetensors")) for name in ("out", "other"))
    assert all(mx.array_equal(one[name], other[name]) for name in other)


def test_folders_of_other_trainers_say_what_to_do(tmp_path):
    (tmp_path / "dcp").mkdir()
    for name in (".metadata", "__0_0.distcp"):
        (tmp_path / "dcp" / name).touch()
    with pytest.raises(VDTError, match="dcp_to_torch"):
        convert(tmp_path / "dcp", tmp_path / "out")
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / "zero_to_fp32.py").touch()
    with pytest.raises(VDTError, match=r"checkpoint of DeepSpeed; .*zero_to_fp32\.py"):
        convert(tmp_path / "zero", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VDTError, match=r"has no config\.json"):
        convert(tmp_path / "empty", tmp_path / "out")


def test_a_run_and_a_registered_name_are_sources(golden, tmp_path):
    convert(golden / "vdt_tiny.pt", tmp_path / "run" / "checkpoint", num_heads=4)
    (tmp_path / "run" / "run.json").write_text("{}")
    assert convert(tmp_path / "run", tmp_path / "half", dtype="fp16").config.vdt == TINY
    assert convert("physics", tmp_path / "physics", dtype="bf16").config.vdt == PRESETS["physics"]
    with pytest.raises(VDTError, match=r"not on this machine: open https://github\.com/RERV/VDT"):
        convert("VDT-L/2", tmp_path / "x")


def test_a_command_says_which_flag_an_argument_is(golden, tmp_path, command) -> None:
    with pytest.raises(VDTError, match=r"drop `which`\)"):
        convert(golden / "vdt_tiny.pt", tmp_path / "out", which="ema")
    status, _, err = command("convert", golden / "vdt_tiny.pt", tmp_path / "out", "--which", "ema")
    assert status == 2 and "drop --which)" in err and "`" not in err
