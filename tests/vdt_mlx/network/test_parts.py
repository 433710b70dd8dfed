"""What is read off a built network: parameters, parts, matrices, what closes a block; also of layers that are added."""

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.config import PRESETS, VDTConfig
from vdt_mlx.device.linear import Linear
from vdt_mlx.network import parts, vdt
from vdt_mlx.network.block import Attention, Block, Context
from vdt_mlx.network.flops import flops, flops_by_part, parameters, parameters_by_part
from vdt_mlx.network.position import SPACE

SMALL = VDTConfig(hidden_size=24, depth=2, num_heads=2, latent_size=(4, 6), num_frames=4)


class Wider(Block):
    """A block with one more attention and one more linear layer."""

    def __init__(self, config: VDTConfig):
        super().__init__(config)
        size = config.hidden_size
        self.extra_attn = Attention(size, config.num_heads, SPACE)
        self.skip = Linear(size, size)

    def __call__(self, x: mx.array, condition: mx.array, context: Context | None = None) -> mx.array:
        x = super().__call__(x, condition, context)
        return self.skip(x) + self.extra_attn(x) + x


def test_parameters_are_those_of_the_module_in_the_official_order() -> None:
    found = parts.of_config(SMALL)
    assert {item.name: item.shape for item in found} == {k: v.shape for k, v in flat_parameters(vdt.VDT(SMALL)).items()}
    names = [item.name for item in found]
    assert names[:3] == ["pos_embed", "time_embed", "x_embedder.proj.weight"]
    block = [item.in_block for item in found if item.block == 0 and item.in_block.endswith("weight")]
    assert block == [
        "attn.qkv.weight",
        "attn.proj.weight",
        "mlp.fc1.weight",
        "mlp.fc2.weight",
        "adaLN_modulation.1.weight",
        "temporal_norm1.weight",
        "temporal_attn.qkv.weight",
        "temporal_attn.proj.weight",
        "temporal_fc.weight",
    ]
    assert names[-4] == "final_layer.linear.weight"


def test_matrices_that_carry_tokens() -> None:
    carrying = {item.in_block for item in parts.of_config(SMALL) if item.carries_tokens}
    assert carrying == {
        *("attn.qkv.weight", "attn.proj.weight", "temporal_attn.qkv.weight", "temporal_attn.proj.weight"),
        *("temporal_fc.weight", "mlp.fc1.weight", "mlp.fc2.weight"),
    }


@pytest.mark.parametrize("block", [Block, Wider])
def test_a_block_with_its_closing_rows_at_zero_adds_nothing(block: type[Block]) -> None:
    mx.random.seed(1)
    module = block(SMALL)
    module.load_weights([(k, mx.random.normal(v.shape)) for k, v in tree_flatten(module.parameters())])
    x, condition = mx.random.normal((1, 3, 5, 24)), mx.random.normal((1, 24))
    assert not mx.allclose(module(x, condition), x)
    model = nn.Module()
    model.blocks = [module]
    closed = {}
    for item in parts.of_model(model):
        value = dict(tree_flatten(module.parameters()))[item.in_block]
        for start, stop in item.closing:
            value[start:stop] = 0
        closed[item.in_block] = value
    module.load_weights(list(closed.items()))
    assert mx.array_equal(module(x, condition), x)


def test_a_layer_that_is_added_to_a_block_is_known_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parameters(SMALL), flops(SMALL)
    monkeypatch.setattr(vdt, "Block", Wider)
    added = 24 * 4 * 24 + 4 * 24 + 24 * 24 + 24
    assert parameters(SMALL) == before[0] + 2 * added
    assert sum(value.size for value in flat_parameters(vdt.VDT(SMALL)).values()) == parameters(SMALL)
    tokens = 4 * 6
    assert flops(SMALL) == before[1] + 2 * (2 * tokens * 5 * 24**2 + 4 * tokens * 6 * 24)
    assert parameters_by_part(SMALL)["extra_attn"] == 2 * (24 * 4 * 24 + 4 * 24)
    assert flops_by_part(SMALL)["skip"] == 2 * 2 * tokens * 24**2
    carrying = {item.in_block for item in parts.of_config(SMALL) if item.carries_tokens}
    assert {"extra_attn.qkv.weight", "extra_attn.proj.weight", "skip.weight"} <= carrying
    fresh = vdt.VDT(SMALL)
    assert not fresh.blocks[0].extra_attn.proj.weight.any() and not fresh.blocks[0].skip.weight.any()
    assert fresh.blocks[0].extra_attn.qkv.weight.any()


def test_parts_add_up_and_leave_random_numbers_alone() -> None:
    mx.random.seed(3)
    expected = mx.random.normal((4,))
    for config in PRESETS.values():
        assert sum(parameters_by_part(config).values()) == parameters(config)
    mx.random.seed(3)
    parts.of_config(VDTConfig(hidden_size=36, num_heads=2))
    parts.built(SMALL)
    assert mx.array_equal(mx.random.normal((4,)), expected)
