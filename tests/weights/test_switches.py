"""Networks with other conditioning, attention and positions: there and back under their own names."""

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.checkpoint import flat_parameters, load_vdt, save_checkpoint
from vdt_mlx.config import ATTENTIONS, CONDITIONINGS, POSITIONS, CheckpointConfig, VDTConfig, read_config
from vdt_mlx.errors import VDTError
from vdt_mlx.network.flops import parameters
from vdt_mlx.network.vdt import VDT
from weights.convert import convert
from weights.export import export
from weights.info import about
from weights.info_text import lines
from weights.names.vdt import vdt_shapes

OFFICIAL = {"conditioning": "tokens", "attention": "factorized", "position": "sincos"}
KINDS = [(c, a, p) for c in CONDITIONINGS for a in ATTENTIONS for p in POSITIONS]


def config(conditioning="tokens", attention="factorized", position="sincos", size=32):
    return VDTConfig(
        hidden_size=size,
        depth=2,
        num_heads=2,
        latent_size=(4, 6),
        num_frames=4,
        conditioning=conditioning,
        attention=attention,
        position=position,
    )


def saved(folder, vdt):
    """A checkpoint of ours, random in every number."""
    mx.random.seed(1)
    weights = {name: mx.random.normal(value.shape) for name, value in flat_parameters(VDT(vdt)).items()}
    save_checkpoint(folder, CheckpointConfig(vdt), weights)
    return folder


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_there_and_back_bit_for_bit(kinds, tmp_path):
    vdt = config(*kinds)
    folder = saved(tmp_path / "ours", vdt)
    for suffix in (".pt", ".safetensors"):
        export(folder, tmp_path / f"x{suffix}")
        done = convert(tmp_path / f"x{suffix}", tmp_path / f"back{suffix}")
        assert done.config.vdt == vdt == read_config(tmp_path / f"back{suffix}").vdt
        one, other = (mx.load(str(p / "vdt.safetensors")) for p in (folder, tmp_path / f"back{suffix}"))
        assert one.keys() == other.keys() and all(mx.array_equal(one[name], other[name]) for name in one)
    said = about(folder)
    assert said["parameters"]["total"] == parameters(vdt) == sum(value.size for value in one.values())
    told = "\n".join(lines(said))
    assert all((word in told) == (word not in OFFICIAL.values()) for word in kinds if word not in ("joint", "tokens"))


@pytest.mark.parametrize("kinds", [kinds for kinds in KINDS if kinds[2] == "sincos"], ids="-".join)
def test_quantized(kinds, tmp_path):
    """Packed, it loads and comes back unpacked; what it computes is near."""
    vdt = config(*kinds, size=64)
    done = convert(saved(tmp_path / "ours", vdt), tmp_path / "packed", quantize=8)
    assert done.config.vdt == vdt
    packed = {name for name in mx.load(str(tmp_path / "packed" / "vdt.safetensors")) if name.endswith(".scales")}
    assert len(packed) >= 2 * 5
    export(tmp_path / "packed", tmp_path / "x.pt")
    assert convert(tmp_path / "x.pt", tmp_path / "back").config.vdt == vdt
    one, other = (flat_parameters(load_vdt(tmp_path / name)) for name in ("ours", "back"))
    assert all(np.abs(np.array(one[n]) - np.array(other[n])).max() < 0.05 for n in one)


def test_an_official_file_is_always_the_official_network(golden, derived, tmp_path):
    for name in ("vdt_tiny.pt", "vdt_head72_training_checkpoint.pt"):
        vdt = convert(derived(name), tmp_path / name, num_heads=4).config.vdt
        assert {key: getattr(vdt, key) for key in OFFICIAL} == OFFICIAL


def test_layers_that_no_configuration_tells_of_are_listed(write_pt, tmp_path):
    """A file of somebody else's with added layers is not taken for the official network, nor guessed at."""
    vdt = config("cross-attention")
    generator = np.random.default_rng(0)
    weights = {n: generator.standard_normal(s).astype(np.float32) for n, s in vdt_shapes(vdt).items()}
    write_pt(tmp_path / "x.pt", weights)
    added = set(vdt_shapes(vdt)) - set(vdt_shapes(config()))
    assert added
    with pytest.raises(VDTError, match="unexpected: ") as caught:
        convert(tmp_path / "x.pt", tmp_path / "out", num_heads=2, latent_size=(4, 6))
    assert any(name in str(caught.value) for name in added)


def test_an_older_checkpoint_has_none_of_these_keys(tmp_path):
    folder = saved(tmp_path / "old", config())
    text = (folder / "config.json").read_text()
    for key, value in OFFICIAL.items():
        text = text.replace(f'"mlp_ratio": 4.0,\n    "{key}": "{value}"', '"mlp_ratio": 4.0').replace(
            f',\n    "{key}": "{value}"', ""
        )
    assert "conditioning" not in text.split('"diffusion"')[0]
    (folder / "config.json").write_text(text)
    assert read_config(folder).vdt == config()
    load_vdt(folder)
