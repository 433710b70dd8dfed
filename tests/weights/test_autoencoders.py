"""Autoencoders under every name they go by: each gives the golden numbers."""

import json
import re
import shutil

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.checkpoint import flat_parameters, load_autoencoder
from vdt_mlx.config import AutoencoderConfig, VDTConfig, read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import build_autoencoder
from weights.autoencoders import expected_shapes, open_autoencoder
from weights.convert import convert

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def kl_weights(golden, read_tensors):
    return read_tensors(golden / "autoencoder_kl" / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def tiny_weights(golden, read_tensors):
    return read_tensors(golden / "autoencoder_tiny" / "diffusion_pytorch_model.safetensors")


@pytest.fixture
def load(golden, tmp_path):
    """Converts `vdt_tiny.pt` with an autoencoder and loads the latter."""

    def run(path, **options):
        convert(golden / "vdt_tiny.pt", tmp_path / "out", num_heads=4, autoencoders=[path], force=True, **options)
        return load_autoencoder(tmp_path / "out")

    return run


def check_kl(model, golden):
    with np.load(golden / "autoencoder_kl.npz") as arrays:
        image, z = (mx.array(arrays[name].transpose(0, 2, 3, 1)) for name in ("image", "z"))
        mean, logvar = (np.array(part).transpose(0, 3, 1, 2) for part in model.moments(image))
        assert np.abs(mean - arrays["latent_mean"]).max() <= TOLERANCE
        assert np.abs(logvar - arrays["latent_logvar"]).max() <= TOLERANCE
        assert np.abs(np.array(model.decode(z)).transpose(0, 3, 1, 2) - arrays["decoded"]).max() <= TOLERANCE


def check_tiny(model, golden):
    with np.load(golden / "autoencoder_tiny.npz") as arrays:
        image, z = (mx.array(arrays[name].transpose(0, 2, 3, 1)) for name in ("image", "z"))
        assert np.abs(np.array(model.encode(image)).transpose(0, 3, 1, 2) - arrays["latents"]).max() <= TOLERANCE
        assert np.abs(np.array(model.decode(z)).transpose(0, 3, 1, 2) - arrays["decoded"]).max() <= TOLERANCE
    assert model.config.scaling_factor == 1.0


def compvis(weights):
    """The names of CompVis' `ldm`, written down independently: a walk over that code's own structure."""
    renamed = {}
    for name, value in weights.items():
        parts = name.split(".")
        coder = parts[0]
        if coder in ("quant_conv", "post_quant_conv") or parts[1] in ("conv_in", "conv_out"):
            new = name
        elif parts[1] == "conv_norm_out":
            new = f"{coder}.norm_out.{parts[2]}"
        elif parts[1] == "mid_block" and parts[2] == "resnets":
            new = f"{coder}.mid.block_{('1', '2')[int(parts[3])]}.{'.'.join(parts[4:])}"
        elif parts[1] == "mid_block":
            inner = ".".join(parts[4:-1])
            plain = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}[inner]
            new = f"{coder}.mid.attn_1.{plain}.{parts[-1]}"
            value = value[:, :, None, None] if value.ndim == 2 else value
        else:
            level = int(parts[2]) if coder == "encoder" else 3 - int(parts[2])
            way = "down" if coder == "encoder" else "up"
            if parts[3] == "resnets":
                rest = ".".join("nin_shortcut" if part == "conv_shortcut" else part for part in parts[5:])
                new = f"{coder}.{way}.{level}.block.{parts[4]}.{rest}"
            else:
                new = f"{coder}.{way}.{level}.{way}sample.{'.'.join(parts[5:])}"
        renamed[new] = value
    assert len(renamed) == len(weights)
    return renamed


def test_diffusers_folder(load, golden):
    model = load(golden / "autoencoder_kl")
    assert model.config == AutoencoderConfig(block_out_channels=(8, 16, 16, 24), norm_num_groups=4)
    check_kl(model, golden)


def test_a_pipeline_folder_has_it_under_vae(load, golden, tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "vae").symlink_to(golden / "autoencoder_kl")
    check_kl(load(tmp_path / "pipeline"), golden)


def test_a_single_file_beside_its_config(load, golden):
    check_kl(load(golden / "autoencoder_kl" / "diffusion_pytorch_model.safetensors"), golden)


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_old_attention_names(suffix, load, derived, golden):
    path = derived(f"autoencoder_kl_old_names.{suffix}")
    with open_autoencoder(path, norm_groups=4) as loaded:
        assert loaded.naming == "diffusers, old names"
    check_kl(load(path, norm_groups=4), golden)


def test_groups_are_asked_for_by_name(load, derived):
    with pytest.raises(VDTError, match="give them with `norm_groups`"):
        load(derived("autoencoder_kl_old_names.bin"))
    with pytest.raises(VDTError, match="do not divide into 5 groups"):
        load(derived("autoencoder_kl_old_names.bin"), norm_groups=5)


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_compvis_names(prefix, load, kl_weights, golden, write_pt, tmp_path):
    weights = {prefix + name: value for name, value in compvis(kl_weights).items()}
    more = {"loss.logvar": 1, "model_ema.decay": 1}
    if prefix:
        more |= {"model.diffusion_model.out.0.weight": 3, "cond_stage_model.x": 3, "betas": 5, "posterior_variance": 5}
    weights |= {name: np.ones(size, np.float32) for name, size in more.items()}
    path = write_pt(tmp_path / "x.ckpt", weights)
    with open_autoencoder(path, norm_groups=4) as loaded:
        assert loaded.naming.startswith("CompVis")
    check_kl(load(path, norm_groups=4), golden)


def test_compvis_with_an_unknown_part(kl_weights, write_pt, tmp_path):
    weights = {f"first_stage_model.{name}": value for name, value in compvis(kl_weights).items()}
    path = write_pt(tmp_path / "x.ckpt", {**weights, "mystery.weight": np.ones(3, np.float32)})
    with pytest.raises(VDTError, match=r"no known part of Stable Diffusion: \['mystery.weight'\]"):
        open_autoencoder(path, norm_groups=4)


def test_old_diffusers_attention_as_convolutions(load, kl_weights, golden, write_pt, tmp_path):
    weights = {
        name: value[:, :, None, None] if ".attentions." in name and value.ndim == 2 else value
        for name, value in kl_weights.items()
    }
    check_kl(load(write_pt(tmp_path / "x.pt", weights), norm_groups=4), golden)


def test_taesd_of_diffusers(load, golden):
    model = load(golden / "autoencoder_tiny")
    assert model.config.num_encoder_blocks == (1, 3, 3, 3) and model.config.num_decoder_blocks == (3, 3, 3, 1)
    check_tiny(model, golden)


def test_a_tiny_one_with_a_wider_decoder(load, write_pt, tmp_path):
    config = AutoencoderConfig(
        kind="tiny",
        block_out_channels=(4, 8),
        decoder_block_out_channels=(6, 10),
        num_encoder_blocks=(1, 2),
        num_decoder_blocks=(2, 1),
        scaling_factor=1.0,
    )
    model = build_autoencoder(config)
    weights = {
        name: np.array(value.transpose(0, 3, 1, 2) if value.ndim == 4 else value)
        for name, value in flat_parameters(model).items()
    }
    loaded = load(write_pt(tmp_path / "x.pt", weights))
    assert loaded.config == config
    z = mx.random.normal((1, 2, 3, 4))
    assert mx.array_equal(loaded.decode(z), model.decode(z))


def taesd_halves(weights):
    """TAESD's own names: two nn.Sequential, the decoder's first layer a clamp without weights."""
    halves = {"encoder": {}, "decoder": {}}
    for name, value in weights.items():
        half, index, rest = re.fullmatch(r"(\w+)\.layers\.(\d+)\.(.+)", name).groups()
        halves[half][f"{int(index) + (half == 'decoder')}.{rest}"] = value
    return halves


def test_taesd_sequences(load, tiny_weights, golden, write_pt, tmp_path):
    halves = taesd_halves(tiny_weights)
    (tmp_path / "taesd").mkdir()
    for half, weights in halves.items():
        write_pt(tmp_path / "taesd" / f"taesd_{half}.pth", weights)
    check_tiny(load(tmp_path / "taesd"), golden)
    check_tiny(load(tmp_path / "taesd" / "taesd_encoder.pth"), golden)
    check_tiny(load(tmp_path / "taesd" / "taesd_decoder.pth"), golden)
    with open_autoencoder(tmp_path / "taesd") as loaded:
        assert loaded.naming == "TAESD" and len(loaded.sources) == 2
    (tmp_path / "taesd" / "taesd_encoder.pth").unlink()
    with pytest.raises(VDTError, match="its encoder should lie beside it"):
        open_autoencoder(tmp_path / "taesd" / "taesd_decoder.pth")


@pytest.mark.parametrize("prefix", ["", "taesd_"])
def test_taesd_in_one_file(prefix, load, tiny_weights, golden, write_pt, tmp_path):
    halves = taesd_halves(tiny_weights)
    weights = {f"{prefix}{half}.{name}": value for half, part in halves.items() for name, value in part.items()}
    check_tiny(load(write_pt(tmp_path / "x.pt", weights)), golden)


def test_both_kinds_in_one_folder(golden, tmp_path):
    convert(
        golden / "vdt_tiny.pt",
        tmp_path / "out",
        num_heads=4,
        autoencoders=[golden / "autoencoder_tiny", golden / "autoencoder_kl"],
    )
    check_kl(load_autoencoder(tmp_path / "out"), golden)
    check_tiny(load_autoencoder(tmp_path / "out", "tiny"), golden)


def test_settings_of_diffusers(golden, tmp_path):
    base = json.loads((golden / "autoencoder_kl" / "config.json").read_text())
    folder = tmp_path / "ae"
    folder.mkdir()
    (folder / "diffusion_pytorch_model.safetensors").symlink_to(
        golden / "autoencoder_kl" / "diffusion_pytorch_model.safetensors"
    )

    def opened(**change):
        (folder / "config.json").write_text(json.dumps({**base, **change}))
        with open_autoencoder(folder) as loaded:
            return loaded.config

    assert opened(scaling_factor=0.5).scaling_factor == 0.5
    both = opened(latents_mean=[1, 2, 3, 4], latents_std=[1, 1, 2, 2], scaling_factor=0.5)
    assert both.latent_mean == (1, 2, 3, 4) and both.latent_std == (2, 2, 4, 4)
    moved = opened(shift_factor=0.5, scaling_factor=0.25)
    assert moved.latent_mean == (0.5,) * 4 and moved.latent_std == (4.0,) * 4
    for change, sentence in (
        ({"_class_name": "AutoencoderDC"}, "describes a 'AutoencoderDC'"),
        ({"act_fn": "mish"}, "act_fn"),
        ({"use_quant_conv": False}, "use_quant_conv"),
        ({"shift_factor": "x"}, "shift_factor"),
        ({"shift_factor": 0.1, "latents_mean": [1, 2, 3, 4]}, "shift_factor beside"),
        ({"scaling_factor": 10**400}, "more than 64 bits"),
        ({"scaling_factor": 1e300}, "scaling_factor"),
        ({"latents_mean": [float("nan")] * 4, "latents_std": [1] * 4}, "latents_mean"),
        ({"quantization_config": {"bits": 8}}, "quantization_config"),
        ({"latent_channels": 16}, "says latent_channels = '16', but its tensors are of 4"),
        ({"_class_name": "AutoencoderTiny"}, "_class_name"),
        ({"scaling_factor": -1}, "scaling_factor"),
        ({"scaling_factor": "x"}, "scaling_factor"),
        ({"norm_num_groups": 0}, "norm_num_groups"),
        ({"norm_num_groups": 5}, "do not divide into 5 groups"),
        ({"latents_mean": [1, 2], "latents_std": [1, 2]}, "one number a channel"),
        ({"latents_mean": [1, 2, 3, 4], "latents_std": [1, 0, 1, 1]}, "must be positive"),
    ):
        with pytest.raises(VDTError, match=sentence):
            opened(**change)
    (folder / "config.json").write_text("{")
    with pytest.raises(VDTError, match="is not JSON"):
        open_autoencoder(folder)


def test_what_does_not_fit(load, kl_weights, golden, write_pt, tmp_path):
    some = dict(kl_weights)
    del some["decoder.conv_out.bias"]
    with pytest.raises(VDTError, match=r"missing: decoder\.conv_out\.bias"):
        load(write_pt(tmp_path / "x.pt", some), norm_groups=4)
    with pytest.raises(VDTError, match="not a known kind of autoencoder"):
        load(golden / "vdt_tiny.pt")
    bare = {name: value for name, value in kl_weights.items() if "quant_conv" not in name}
    with pytest.raises(VDTError, match=r"without quant_conv and post_quant_conv \(use_quant_conv = False"):
        load(write_pt(tmp_path / "bare.pt", bare), norm_groups=4)
    with pytest.raises(VDTError, match="is not an autoencoder's folder"):
        load(tmp_path)
    with pytest.raises(VDTError, match="no GroupNorm"):
        load(golden / "autoencoder_tiny", norm_groups=4)
    nan = {**kl_weights, "quant_conv.bias": np.full(8, np.nan, np.float32)}
    with pytest.raises(VDTError, match=r"quant_conv\.bias holds NaN"):
        load(write_pt(tmp_path / "nan.pt", nan), norm_groups=4)
    assert not (tmp_path / "out").exists()


def test_channels_must_match(state_dict, write_pt, golden, tmp_path):
    from vdt_mlx.config import VDTConfig

    config = VDTConfig(hidden_size=16, depth=1, num_heads=2, in_channels=3, latent_size=(4, 4), num_frames=2)
    write_pt(tmp_path / "x.pt", state_dict(config))
    with pytest.raises(VDTError, match="latents of 4 channels, but this network takes 3"):
        convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2, autoencoders=[golden / "autoencoder_kl"])


def test_sizes_of_stable_diffusion():
    """The names and parameters of sd-vae-ft-mse (83,653,863) and of TAESD (1,222,532 + 1,222,531)."""
    shapes = expected_shapes(AutoencoderConfig())
    assert len(shapes) == 248
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 83_653_863
    tiny = expected_shapes(AutoencoderConfig(kind="tiny", block_out_channels=(64,) * 4, scaling_factor=1.0))
    assert sum(int(np.prod(shape)) for shape in tiny.values()) == 1_222_532 + 1_222_531


NAMES = (
    "model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.non_ema.safetensors",
    "my vae.safetensors",
    "vae-ft.pt",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("give", ["folder", "file"])
def test_config_json_counts_whatever_the_file_is_called(name, give, golden, write_pt, kl_weights, tmp_path):
    folder = tmp_path / "vae"
    folder.mkdir()
    if name.endswith(".pt"):
        write_pt(folder / name, kl_weights)
    else:
        shutil.copy(golden / "autoencoder_kl" / "diffusion_pytorch_model.safetensors", folder / name)
    settings = json.loads((golden / "autoencoder_kl" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "scaling_factor": 0.13, "shift_factor": 0.6}))
    with open_autoencoder(folder if give == "folder" else folder / name) as loaded:
        assert loaded.config.norm_num_groups == settings["norm_num_groups"]
        assert loaded.config.latent_mean == (0.6,) * 4
        assert loaded.config.latent_std == pytest.approx((1 / 0.13,) * 4)
        assert any("latents minus 0.6" in note for note in loaded.notes)


def test_a_shift_moves_latents_as_diffusers_does(golden, tmp_path, load):
    shutil.copytree(golden / "autoencoder_kl", tmp_path / "vae")
    settings = json.loads((golden / "autoencoder_kl" / "config.json").read_text())
    (tmp_path / "vae" / "config.json").write_text(json.dumps({**settings, "scaling_factor": 0.3, "shift_factor": -0.7}))
    model = load(tmp_path / "vae")
    z = mx.random.normal((1, 2, 2, 4))
    np.testing.assert_allclose(np.array(model.normalize(z)), (np.array(z) + 0.7) * 0.3, atol=1e-6)
    np.testing.assert_allclose(np.array(model.denormalize(z)), np.array(z) / 0.3 - 0.7, atol=1e-5)


def test_config_json_of_something_else_is_not_about_this_file(golden, tmp_path):
    shutil.copy(golden / "autoencoder_kl" / "diffusion_pytorch_model.safetensors", tmp_path / "vae.safetensors")
    for other in ({"_class_name": "UNet2DConditionModel", "act_fn": "mish"}, {"architectures": ["T5"]}):
        (tmp_path / "config.json").write_text(json.dumps(other))
        with pytest.raises(VDTError, match="give them with `norm_groups`"):
            open_autoencoder(tmp_path / "vae.safetensors")
        with open_autoencoder(tmp_path / "vae.safetensors", norm_groups=4) as loaded:
            assert loaded.config.scaling_factor == 0.18215 and loaded.notes == ()


@pytest.mark.parametrize("index", ["diffusion_pytorch_model.safetensors.index.json", "x.safetensors.index.fp16.json"])
def test_pieces_with_an_index(index, golden, load, tmp_path):
    """The parts of a large file, as diffusers shards it: one table again, every file's checksum on record."""
    folder = tmp_path / "vae"
    folder.mkdir()
    shutil.copy(golden / "autoencoder_kl" / "config.json", folder)
    weights = mx.load(str(golden / "autoencoder_kl" / "diffusion_pytorch_model.safetensors"))
    names, table = sorted(weights), {}
    for number in range(3):
        piece = f"{index.split('.')[0]}-{number + 1:05d}-of-00003.safetensors"
        mx.save_safetensors(str(folder / piece), {name: weights[name] for name in names[number::3]})
        table |= dict.fromkeys(names[number::3], piece)
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": table}))
    check_kl(load(folder), golden)
    check_kl(load(folder / index), golden)
    provenance = json.loads((tmp_path / "out" / "config.json").read_text())["provenance"]["autoencoder"]
    assert [entry["source"][-26:-12] for entry in provenance["with"]] == ["00002-of-00003", "00003-of-00003"]
    for change, sentence in (
        ({"encoder.conv_in.bias": "../x"}, "not beside it"),
        ({"encoder.conv_in.bias": piece, "more": piece}, "does not hold the tensors"),
        (dict.fromkeys(table, "gone.safetensors"), "There is no file"),
    ):
        (folder / index).write_text(json.dumps({"weight_map": {**table, **change}}))
        with pytest.raises(VDTError, match=sentence):
            open_autoencoder(folder)
    (folder / index).write_text(json.dumps({"weight_map": []}))
    with pytest.raises(VDTError, match="has no weight_map"):
        open_autoencoder(folder)


def test_several_files_of_weights_are_named(golden, tmp_path):
    source = golden / "autoencoder_kl" / "diffusion_pytorch_model.safetensors"
    for name in ("a.safetensors", "b.safetensors"):
        shutil.copy(source, tmp_path / name)
    with pytest.raises(VDTError, match=r"several files of weights \(a\.safetensors, b\.safetensors\)"):
        open_autoencoder(tmp_path)
    shutil.copy(source, tmp_path / "diffusion_pytorch_model.safetensors")
    with open_autoencoder(tmp_path, norm_groups=4) as loaded:
        assert loaded.sources[0].path.name == "diffusion_pytorch_model.safetensors"


def test_a_folder_of_ours_gives_its_autoencoder(golden, state_dict, write_pt, tmp_path, command):
    """Ours, a training run's, a registered name and a file in one: the same bytes."""
    convert(golden / "vdt_tiny.pt", tmp_path / "a", num_heads=4, autoencoders=[golden / "autoencoder_kl"])
    run = tmp_path / "run"
    shutil.copytree(tmp_path / "a", run / "checkpoint")
    (run / "run.json").write_text("{}")
    wanted = (tmp_path / "a" / "autoencoder.safetensors").read_bytes()[-10_000:]
    for given in (tmp_path / "a", run, tmp_path / "a" / "autoencoder.safetensors"):
        done = convert(golden / "vdt_tiny.pt", tmp_path / "b", num_heads=4, autoencoders=[given], force=True)
        assert (tmp_path / "b" / "autoencoder.safetensors").read_bytes()[-10_000:] == wanted
        assert done.config.autoencoder.norm_num_groups == 4
    config = VDTConfig(hidden_size=16, depth=1, num_heads=2, in_channels=12, latent_size=(4, 4), num_frames=2)
    write_pt(tmp_path / "x.pt", state_dict(config))
    status, _, err = command(
        "convert", tmp_path / "x.pt", tmp_path / "c", "--num-heads", 2, "--autoencoder", "weights/physics"
    )
    assert (status, err) == (0, "")
    made, shipped = read_config(tmp_path / "c").autoencoder, read_config("weights/physics").autoencoder
    assert made == shipped and made.latent_mean is not None
    with pytest.raises(VDTError, match="drop `norm_groups`"):
        open_autoencoder(tmp_path / "a", norm_groups=4)
    (run / "checkpoint" / "config.json").unlink()
    with pytest.raises(VDTError, match="has saved no checkpoint yet"):
        open_autoencoder(run)
    convert(golden / "vdt_tiny.pt", tmp_path / "d", num_heads=4)
    with pytest.raises(VDTError, match="holds no autoencoder"):
        open_autoencoder(tmp_path / "d")


@pytest.mark.parametrize("name", ["sd-vae-ft-mse", "stabilityai/sd-vae-ft-ema", "TAESD", "./taesd"])
def test_a_known_name_that_is_not_at_hand_says_how_to_get_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VDTError, match=r"not on this machine: download it with `hf download .*--local-dir"):
        open_autoencoder(name)
