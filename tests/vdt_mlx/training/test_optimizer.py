"""The optimizers: packed parameters, beside MLX's own one parameter at a time; schedules, clipping, averaging."""

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

from vdt_mlx.errors import VDTError
from vdt_mlx.training import optimizer
from vdt_mlx.training.config import OptimizerConfig


def shapes_of_a_network():
    """Parameters of several shapes, so that a packing has two stacks of matrices and a vector."""
    shapes = {
        "blocks.0.attn.qkv.weight": (24, 8),
        "x.bias": (5,),
        "blocks.1.attn.qkv.weight": (24, 8),
        "blocks.0.mlp.fc2.weight": (8, 32),
        "x.weight": (4, 3, 3, 2),
    }
    return {name: mx.random.normal(shape, key=mx.random.key(i)) for i, (name, shape) in enumerate(shapes.items())}


def matrices(flat) -> frozenset[str]:
    return frozenset(name for name in flat if name.startswith("blocks."))


def test_packing_keeps_every_number_and_the_order():
    flat = shapes_of_a_network()
    packing = optimizer.Packing(flat, matrices(flat))
    packed = packing.pack(flat)
    assert {group: value.shape for group, value in packed.items()} == {
        "24x8": (2, 24, 8),
        "8x32": (1, 8, 32),
        "vector": (5 + 4 * 3 * 3 * 2,),
    }
    back = packing.unpack(packed)
    assert list(back) == list(flat)
    assert all(mx.array_equal(back[name], value) for name, value in flat.items())
    assert list(optimizer.Packing(flat, frozenset()).pack(flat)) == ["vector"]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_packed_updates_are_those_of_mlx_parameter_by_parameter(name):
    flat = shapes_of_a_network()
    config = OptimizerConfig(name=name, lr=0.01, muon_lr=0.02, betas=(0.9, 0.95), weight_decay=0.1)
    ours = optimizer.FlatOptimizer(config)
    packing = ours.packing(flat, matrices(flat))
    packed = packing.pack(flat)
    state = ours.init(packed)
    by_muon = {key for key in flat if name == "muon" and key in matrices(flat)}
    muon = optim.Muon(0.5 * 0.02, momentum=0.95, weight_decay=0.1)
    adamw = optim.AdamW(0.5 * 0.01, betas=[0.9, 0.95], weight_decay=0.1, bias_correction=True)
    theirs = {True: muon, False: adamw}
    for seed in range(3):
        gradients = {key: mx.random.normal(v.shape, key=mx.random.key(9 + seed)) for key, v in flat.items()}
        packed, state = ours.update(packing.pack(gradients), packed, state, mx.array(0.5))
        for kind, part in theirs.items():
            share = {key: value for key, value in flat.items() if (key in by_muon) == kind}
            flat.update(part.apply_gradients({key: gradients[key] for key in share}, share))
    assert all(mx.allclose(value, flat[key], atol=1e-5) for key, value in packing.unpack(packed).items())


def test_muon_takes_the_block_matrices_and_turns_them_orthogonally():
    matrix = mx.random.normal((8, 16), key=mx.random.key(0))
    flat = {
        "blocks.0.mlp.fc1.weight": mx.zeros((8, 16)),
        "blocks.0.mlp.fc1.bias": mx.zeros(8),
        "x.weight": mx.zeros((8, 16)),
    }
    ours = optimizer.FlatOptimizer(OptimizerConfig(name="muon", muon_lr=1.0, lr=1.0))
    packing = ours.packing(flat, frozenset({"blocks.0.mlp.fc1.weight"}))
    packed = packing.pack(flat)
    gradients = {name: matrix if value.ndim == 2 else mx.ones(8) for name, value in flat.items()}
    after = packing.unpack(ours.update(packing.pack(gradients), packed, ours.init(packed), mx.array(0.5))[0])
    step = np.array(after["blocks.0.mlp.fc1.weight"]) / -0.5
    singular = np.linalg.svd(step)[1]
    assert singular.min() > 0.5 and singular.max() < 1.4  # Newton-Schulz brings them near 1
    assert np.allclose(np.abs(np.array(after["x.weight"])), 0.5, atol=1e-3)  # Adam's first step: the rate


def test_schedules():
    config = OptimizerConfig(warmup=10, final=0.1)
    assert optimizer.rate_scale(config, 0, 100) == pytest.approx(0.1)
    assert optimizer.rate_scale(config, 10, 100) == pytest.approx(1.0)
    assert optimizer.rate_scale(config, 55, 100) == pytest.approx(0.55)
    assert optimizer.rate_scale(config, 100, 100) == pytest.approx(0.1)
    decay = OptimizerConfig(warmup=0, final=0.0, schedule="decay")
    assert [optimizer.rate_scale(decay, step, 100) for step in (0, 79, 90, 100)] == pytest.approx([1, 1, 0.5, 0])
    assert optimizer.rate_scale(OptimizerConfig(schedule="constant", warmup=0), 10**6, 10) == 1


def test_clipping_and_averaging():
    gradients = {"b": mx.array([3.0]), "a": mx.array([4.0])}
    clipped, norm = optimizer.clip_by_norm(gradients, 1.0)
    assert norm.item() == pytest.approx(5) and clipped["a"].item() == pytest.approx(0.8)
    assert optimizer.clip_by_norm(gradients, 0)[0]["a"].item() == 4
    ema = optimizer.average({"a": mx.array([0.0])}, {"a": mx.array([1.0])}, mx.array(0.9))
    assert ema["a"].item() == pytest.approx(0.1)
    assert optimizer.ema_decay(0.999, 0) == pytest.approx(0.1) and optimizer.ema_decay(0.999, 10**6) == 0.999


def test_a_state_of_another_version_is_refused_with_a_sentence():
    one, two = mx.zeros(1), mx.ones(1)
    assert list(optimizer.in_order({"b": two, "a": one}, {"a": one, "b": two})) == ["a", "b"]
    with pytest.raises(VDTError, match="another version"):
        optimizer.in_order({"0.a": one}, {"adamw.a": one})
