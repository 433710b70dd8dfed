"""The way back: official names and layout, bit for bit."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vdt_mlx.checkpoint import flat_parameters, load_vdt, save_checkpoint
from vdt_mlx.config import AutoencoderConfig, CheckpointConfig, DiffusionConfig, VDTConfig, read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.network.vdt import VDT
from weights.convert import convert
from weights.export import export

SUFFIXES = (".pt", ".safetensors")


def equal_files(one, other):
    one, other = mx.load(str(one)), mx.load(str(other))
    same = set(one) == set(other)
    return same and all(one[n].dtype == other[n].dtype and mx.array_equal(one[n], other[n]).item() for n in one)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_there_and_back(suffix, dtype, golden, tmp_path):
    autoencoders = [golden / "autoencoder_kl", golden / "autoencoder_tiny"]
    convert(golden / "vdt_tiny.pt", tmp_path / "a", num_heads=4, dtype=dtype, autoencoders=autoencoders)
    out, kl, tiny = (tmp_path / f"{name}{suffix}" for name in ("out", "kl", "tiny"))
    export(tmp_path / "a", out, autoencoder=kl, tiny_autoencoder=tiny)
    convert(out, tmp_path / "b", autoencoders=[kl, tiny])  # no flag: the configuration travels along
    for name in ("vdt", "autoencoder", "tiny_autoencoder"):
        assert equal_files(tmp_path / "a" / f"{name}.safetensors", tmp_path / "b" / f"{name}.safetensors")
    one, other = (read_config(tmp_path / name) for name in ("a", "b"))
    for part in ("vdt", "diffusion", "autoencoder", "tiny_autoencoder"):
        assert getattr(one, part) == getattr(other, part)


@pytest.mark.parametrize("name", ["vdt_tiny.pt", "vdt_head72_bf16.pt"])
def test_the_original_file_comes_back(name, derived, read_tensors, tmp_path):
    convert(derived(name), tmp_path / "a", num_heads=4)
    export(tmp_path / "a", tmp_path / "x.pt")
    original, found = read_tensors(derived(name)), read_tensors(tmp_path / "x.pt")
    assert list(original) == list(found)
    assert all(original[key].tobytes() == found[key].tobytes() for key in original)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pytorch_reads_it(suffix, golden, tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    convert(golden / "vdt_tiny.pt", tmp_path / "a", num_heads=4)
    path = tmp_path / f"x{suffix}"
    export(tmp_path / "a", path)
    found = torch.load(path, weights_only=True) if suffix == ".pt" else safetensors.load_file(path)
    expected = torch.load(golden / "vdt_tiny.pt", weights_only=True)
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    if suffix == ".pt":
        assert list(torch.load(path, mmap=True)) == list(expected)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    heads=st.integers(1, 3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    sigma=st.booleans(),
    tiny=st.booleans(),
    seed=st.integers(0, 9),
)
def test_models_of_ours_come_back(heads, rows, columns, sigma, tiny, seed, tmp_path_factory):
    """Rectangles, flow networks, normalised latents: nothing of it can be read off the tensors."""
    folder = tmp_path_factory.mktemp("any")
    mx.random.seed(seed)
    config = VDTConfig(
        hidden_size=8 * heads,
        depth=2,
        num_heads=heads,
        latent_size=(2 * rows, 2 * columns),
        num_frames=3,
        learn_sigma=sigma,
    )
    normalisation = {"latent_mean": (0.1, 0.2, 0.3, 0.4), "latent_std": (1.0, 2.0, 3.0, 4.0)}
    kinds = {
        False: {"norm_num_groups": 2},
        True: {"decoder_block_out_channels": (6, 10), "num_encoder_blocks": (0, 1), "num_decoder_blocks": (2, 0)},
    }
    autoencoder = AutoencoderConfig(
        kind="tiny" if tiny else "kl", block_out_channels=(4, 8), **kinds[tiny], **normalisation
    )
    from vdt_mlx.network.autoencoder import build_autoencoder

    whole = CheckpointConfig(
        vdt=config,
        diffusion=DiffusionConfig(prediction="flow", schedule="flow", sampler="euler"),
        autoencoder=autoencoder,
        training={"splits": {"seed": 3}},
    )
    parts = flat_parameters(VDT(config)), flat_parameters(build_autoencoder(autoencoder))
    save_checkpoint(folder / "a", whole, *parts)
    export(folder / "a", folder / "x.pt", autoencoder=folder / "y.safetensors")
    convert(folder / "x.pt", folder / "b", autoencoders=[folder / "y.safetensors"])
    for name in ("vdt.safetensors", "autoencoder.safetensors"):
        assert equal_files(folder / "a" / name, folder / "b" / name)
    back = read_config(folder / "b")
    assert (back.vdt, back.diffusion, back.autoencoder, back.training) == (
        whole.vdt,
        whole.diffusion,
        whole.autoencoder,
        whole.training,
    )


def test_a_quantized_one_comes_back_unquantized(golden, tmp_path):
    convert(golden / "vdt_tiny.pt", tmp_path / "q", num_heads=4, quantize=8)
    export(tmp_path / "q", tmp_path / "x.pt")
    done = convert(tmp_path / "x.pt", tmp_path / "b")
    assert done.config.quantization is None
    x, t = mx.random.normal((1, 8, 8, 8, 4)), mx.array([500])
    one, other = (np.array(load_vdt(tmp_path / name)(x, t)) for name in ("q", "b"))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_targets(golden, tmp_path, command):
    convert(golden / "vdt_tiny.pt", tmp_path / "a", num_heads=4)
    with pytest.raises(VDTError, match=r"should end in \.pt or \.safetensors"):
        export(tmp_path / "a", tmp_path / "x.onnx")
    with pytest.raises(VDTError, match="holds no such autoencoder"):
        export(tmp_path / "a", tmp_path / "x.pt", autoencoder=tmp_path / "y.pt", force=True)
    with pytest.raises(VDTError, match="into different files"):
        export(tmp_path / "a", tmp_path / "x.pt", autoencoder=tmp_path / "x.pt")
    (tmp_path / "old.pt").write_text("precious")
    with pytest.raises(VDTError, match="`force` replaces it"):
        export(tmp_path / "a", tmp_path / "old.pt")
    assert (tmp_path / "old.pt").read_text() == "precious"
    status, out, err = command("export", tmp_path / "a", tmp_path / "new.pt")
    assert (status, err) == (0, "") and "new.pt: 0.9 MB" in out
    status, out, err = command("export", tmp_path / "nothing", tmp_path / "other.pt")
    assert (status, out) == (2, "") and "no model named" in err


def test_damaged_folders(golden, tmp_path):
    convert(golden / "vdt_tiny.pt", tmp_path / "a", num_heads=4)
    path = tmp_path / "a" / "vdt.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(VDTError, match="cut short"):
        export(tmp_path / "a", tmp_path / "x.pt")
    path.unlink()
    with pytest.raises(VDTError, match="There is no file"):
        export(tmp_path / "a", tmp_path / "x.pt")
    assert not (tmp_path / "x.pt").exists()
