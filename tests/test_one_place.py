"""A layer is listed in one place: one that is added to a block is known to all who read the built modules."""

import json

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from vdt_mlx.checkpoint import flat_parameters, load_vdt, save_checkpoint
from vdt_mlx.config import CheckpointConfig, VDTConfig
from vdt_mlx.device.linear import Linear
from vdt_mlx.errors import VDTError
from vdt_mlx.network import parts, vdt
from vdt_mlx.network.block import Block
from vdt_mlx.network.flops import flops, parameters
from vdt_mlx.training.warm_start.more_blocks import deepen
from weights.convert import convert
from weights.export import export
from weights.info import about
from weights.info_text import lines

WIDTH, DEPTH = 16, 2
CONFIG = VDTConfig(hidden_size=WIDTH, depth=DEPTH, num_heads=2, latent_size=(4, 6), num_frames=4)
TOKENS = 4 * 2 * 3
"""Of a clip."""


class Mixing(nn.Module):
    """A layer of layers: tokens of a frame attend to one another, one head."""

    LAST = "proj"

    def __init__(self, width):
        super().__init__()
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def __call__(self, x):
        q, k, v = mx.split(self.qkv(x), 3, axis=-1)
        return self.proj(mx.softmax(q @ k.swapaxes(-1, -2), axis=-1) @ v)


class WithMore(Block):
    """A block with two more layers that nothing else in the project knows of."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        width = self.adaLN_modulation[1].weight.shape[1]
        self.extra_attn = Mixing(width)
        self.extra_fc = Linear(width, width)

    def __call__(self, x, *arguments, **options):
        x = super().__call__(x, *arguments, **options)
        return x + self.extra_attn(x) + self.extra_fc(x)


ADDED = 4 * WIDTH * WIDTH + 4 * WIDTH + WIDTH * WIDTH + WIDTH
"""Parameters of the two layers in one block."""
NAMES = {
    f"{layer}.{kind}" for layer in ("extra_attn.qkv", "extra_attn.proj", "extra_fc") for kind in ("weight", "bias")
}


@pytest.fixture
def added(monkeypatch):
    """Blocks with the added layers, everywhere; gives what parameters and FLOPs were before."""
    before = parameters(CONFIG), flops(CONFIG)
    monkeypatch.setattr(vdt, "Block", WithMore)
    return before


@pytest.fixture
def folder(added, tmp_path):
    """A checkpoint of ours with the added layers, random in every number."""
    mx.random.seed(0)
    weights = {name: mx.random.normal(value.shape) for name, value in flat_parameters(vdt.VDT(CONFIG)).items()}
    save_checkpoint(tmp_path / "ours", CheckpointConfig(CONFIG), weights)
    return tmp_path / "ours"


def test_parameters_and_arithmetic(added):
    assert parameters(CONFIG) - added[0] == DEPTH * ADDED
    assert flops(CONFIG) - added[1] == DEPTH * 2 * TOKENS * 5 * WIDTH**2  # three and one matrix, and one more


def test_info(folder):
    said = about(folder)["parameters"]
    assert said["total"] == parameters(CONFIG)
    assert said["extra_attn"] + said["extra_fc"] == DEPTH * ADDED
    told = "\n".join(lines(about(folder), verbose=True))
    assert "extra_attn" in told and "extra_fc" in told


def test_matrices_of_muon(added):
    carrying = {item.name for item in parts.of_model(vdt.VDT(CONFIG)) if item.carries_tokens}
    for block in range(DEPTH):
        assert {f"blocks.{block}.{name}" for name in NAMES if name.endswith("weight")} <= carrying


def test_added_blocks_change_nothing(folder):
    """A deeper network from this one computes what this one does: the layers of the new block are closed too."""
    deeper = VDTConfig(**{**CONFIG.__dict__, "depth": DEPTH + 1})
    shallow, deep = load_vdt(folder), vdt.VDT(deeper)
    deep.load_weights(list(deepen(flat_parameters(shallow), CONFIG, deeper).items()))
    x, t = mx.random.normal((1, 4, 4, 6, 4)), mx.array([500.0])
    np.testing.assert_allclose(np.array(deep(x, t)), np.array(shallow(x, t)), atol=1e-4)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_export_and_convert(suffix, folder, tmp_path):
    """There and back, bit for bit; and a folder of ours in another precision."""
    export(folder, tmp_path / f"x{suffix}")
    done = convert(tmp_path / f"x{suffix}", tmp_path / "back")
    assert done.config.vdt == CONFIG
    one, other = (mx.load(str(path / "vdt.safetensors")) for path in (folder, tmp_path / "back"))
    assert one.keys() == other.keys() and all(mx.array_equal(one[name], other[name]) for name in one)
    assert {name.removeprefix("blocks.0.") for name in one} >= NAMES
    half = convert(folder, tmp_path / "half", dtype="fp16")
    assert half.tensors == len(one)


def test_quantize(added, tmp_path):
    wide = VDTConfig(hidden_size=64, depth=1, num_heads=4, latent_size=(4, 4), num_frames=2)
    save_checkpoint(tmp_path / "wide", CheckpointConfig(wide), flat_parameters(vdt.VDT(wide)))
    convert(tmp_path / "wide", tmp_path / "packed", quantize=8)
    assert "blocks.0.extra_fc.scales" in mx.load(str(tmp_path / "packed" / "vdt.safetensors"))
    load_vdt(tmp_path / "packed")
    export(tmp_path / "packed", tmp_path / "x.pt")


def test_a_missing_one_is_named(folder, tmp_path):
    weights = dict(mx.load(str(folder / "vdt.safetensors")))
    del weights["blocks.1.extra_fc.weight"]
    config = json.loads((folder / "config.json").read_text())
    save_checkpoint(tmp_path / "less", CheckpointConfig.from_json(json.dumps(config)), weights)
    for attempt in (load_vdt, lambda path: export(path, tmp_path / "x.pt"), lambda path: convert(path, tmp_path / "y")):
        with pytest.raises(VDTError, match=r"missing: blocks\.1\.extra_fc\.weight"):
            attempt(tmp_path / "less")
