"""The kernels that matter, on this device, against MLX's plain operations in fp32 on the CPU of the same machine.

The ladder of `parity` compares small networks with recorded numbers; here are the sizes at which a GPU takes other
kernels: fused attention, Winograd convolutions, products of packed weights, gradients, an optimizer's step, random
numbers, and convolutions as large as any that this project computes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from vdt_mlx.checkpoint import DTYPES
from vdt_mlx.config import AutoencoderConfig, VDTConfig
from vdt_mlx.device.chunks import frames_at_once
from vdt_mlx.device.convolution import downsample_conv, upsample_conv
from vdt_mlx.device.kernels import attention, forms, layer_norm, on_cpu
from vdt_mlx.device.linear import QuantizedLinear
from vdt_mlx.device.memory import gpu_bytes
from vdt_mlx.network.vdt import VDT
from vdt_mlx.training.optimizer import orthogonalize

GIB = 2**30
SIDE = 256
"""Of the frames in the largest convolution in use, in pixels."""
BEYOND = 2**31
"""So many values in one array: 32 bits do not count them."""


@dataclass(frozen=True)
class Check:
    """Something that the device computes twice: in its own way, and plainly on the CPU."""

    name: str
    dtypes: tuple[str, ...]
    compute: Callable[[mx.Dtype], Any]
    """A tree of arrays, from inputs that are the same every time."""
    needs_bytes: int = 0
    """Of what a GPU may use; 0 runs everywhere, on a CPU too."""
    leeway: float = 1.0
    """How many times what other checks are allowed, where errors are carried on."""


TOLERANCE = {"fp32": 3e-5, "fp16": 3e-3, "bf16": 2e-2}
"""Largest difference, relative to the CPU's largest value. Products of fp32 rounded to TF32 do not stay within it."""
ALL = tuple(DTYPES)
FP32 = ("fp32",)
WAYS = (("cross-attention", "spatial-first", "rotary"), ("adaln", "joint", "sincos"), ("tokens", "joint", "rotary"))
"""Ways of conditioning, attending and placing, each in one network or more; the ladder has the official ones."""


def checks() -> list[Check]:
    """All of them, cheapest first."""
    found = [
        Check("random numbers", FP32, _random_numbers),
        Check("layer norm", ALL, lambda dtype: layer_norm(_values((64, 1152), dtype), None, None, 1e-6)),
    ]
    for head, length, count in ((48, 16, 64), (64, 16, 64), (64, 256, 6), (72, 256, 4)):
        name = f"attention, heads of {head}, {length} long"
        found.append(Check(name, ALL, lambda dtype, s=(2, count, length, head): _attention(s, dtype)))  # type: ignore[misc]
    for bits in (8, 4):
        for rows in (1, 48):
            name = f"packed product, {bits} bits, {rows} row{'s' * (rows > 1)}"
            found.append(Check(name, ("fp32", "fp16"), lambda dtype, b=bits, r=rows: _packed(b, r, dtype)))  # type: ignore[misc]
    for ways in WAYS:
        found.append(Check(f"network, {', '.join(ways)}", ALL, lambda dtype, w=ways: _network(w, dtype), leeway=3))  # type: ignore[misc]
    return [
        *found,
        Check("gradients of a network", FP32, _gradients, leeway=10),
        Check("Muon", FP32, lambda dtype: orthogonalize(_values((3, 96, 384), dtype), 5), leeway=10),
        Check("convolution, stride 2", FP32, lambda dtype: downsample_conv(*_convolution((2, 32, 32, 48), 64, dtype))),
        Check("convolution, upsampling", FP32, lambda dtype: upsample_conv(*_convolution((2, 16, 16, 64), 48, dtype))),
        Check("convolution, Winograd", FP32, lambda dtype: _conv(*_convolution((1, 64, 64, 128), 128, dtype))),
        Check("convolution, largest in use", FP32, _largest, needs_bytes=4 * GIB),
        Check("convolution, over 2^31 results", ("fp16",), _beyond, needs_bytes=8 * GIB),
    ]


def fits(check: Check) -> bool:
    """Whether this device has the room that a check takes."""
    return check.needs_bytes == 0 or (not on_cpu() and (gpu_bytes() or 0) >= check.needs_bytes)


def difference(check: Check, dtype: str) -> float:
    """The largest difference between the device and the CPU, relative to the CPU's largest value; inf for a NaN."""
    ours = _leaves(check.compute(DTYPES[dtype]))
    mx.eval(ours)
    with plainly():
        theirs = _leaves(check.compute(DTYPES[dtype]))
        mx.eval(theirs)
        worst = 0.0
        for mine, reference in zip(ours, theirs, strict=True):
            scale = float(mx.abs(reference).max())
            apart = float(mx.abs(mine - reference).max()) / (scale or 1.0)
            worst = max(worst, apart) if apart == apart else float("inf")
    return worst


def _leaves(tree: Any) -> list[mx.array]:
    flat: Any = tree_flatten(tree)
    return [value.astype(mx.float32) for _, value in flat]


_plain = False


@contextmanager
def plainly() -> Iterator[None]:
    """MLX's plain operations in fp32 on the CPU: the yardstick."""
    global _plain
    before = mx.default_device()
    mx.set_default_device(mx.cpu)
    _plain = True
    try:
        with forms("gpu"):
            yield
    finally:
        _plain = False
        if mx.is_available(before):
            mx.set_default_device(before)


def _values(shape: tuple[int, ...], dtype: mx.Dtype, seed: int = 0) -> mx.array:
    """The same numbers for every device: those that the CPU draws, rounded; for the yardstick in fp32 again."""
    drawn = mx.random.uniform(-1, 1, shape, key=mx.random.key(seed), stream=mx.cpu).astype(dtype)
    return drawn.astype(mx.float32) if _plain else drawn


def _random_numbers(_dtype: mx.Dtype) -> list[mx.array]:
    key = mx.random.key(5)
    return [mx.random.uniform(shape=(4096,), key=key), mx.random.normal((4096,), key=key)]


def _attention(shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    q, k, v = (_values(shape, dtype, seed) for seed in range(3))
    return attention(4 * q, k, v, scale=shape[-1] ** -0.5)


def _packed(bits: int, rows: int, dtype: mx.Dtype) -> mx.array:
    weight, bias = _values((1152, 384), dtype, 1), _values((1152,), dtype, 2)
    x = _values((rows, 384), dtype, 3)
    parts = mx.quantize(weight.astype(dtype), 64, bits, stream=mx.cpu)  # by one device, so that no value rounds apart
    if _plain:
        packed, scales, biases = (part if part.dtype == mx.uint32 else part.astype(mx.float32) for part in parts)
        return mx.addmm(bias, x, mx.dequantize(packed, scales, biases, 64, bits).T)
    layer = QuantizedLinear(384, 1152, group_size=64, bits=bits)
    layer.weight, layer.scales, layer.biases = parts
    layer.bias = bias
    return layer(x)


SMALL = VDTConfig(hidden_size=128, depth=1, num_heads=2, latent_size=(8, 8), num_frames=8, learn_sigma=False)


def _model(config: VDTConfig, dtype: mx.Dtype) -> VDT:
    model = VDT(config)
    shapes = dict(tree_flatten(model.trainable_parameters()))
    weights = [(name, 0.1 * _values(v.shape, dtype, seed)) for seed, (name, v) in enumerate(shapes.items())]
    model.load_weights(weights, strict=False)
    return model


def _network(ways: tuple[str, str, str], dtype: mx.Dtype) -> mx.array:
    """Three of eight frames given, with a label."""
    config = replace(SMALL, conditioning=ways[0], attention=ways[1], position=ways[2])
    model = _model(replace(config, num_classes=2, labels=("one", "other")), dtype)
    x, clean, t = _values((2, 8, 8, 8, 4), dtype, 1000), _values((2, 8, 8, 8, 4), dtype, 1001), mx.array([100.0, 900.0])
    mask = mx.broadcast_to((mx.arange(8) >= 3).astype(mx.float32)[None, :, None, None], (2, 8, 8, 8))
    return model(x, t, (clean * (1 - mask[..., None]), mask), mx.array([1, 2]))


def _gradients(_dtype: mx.Dtype) -> Any:
    model = _model(SMALL, mx.float32)
    x, t = _values((2, 8, 8, 8, 4), mx.float32, 1000), mx.array([100.0, 900.0])
    return nn.value_and_grad(model, lambda network: network(x, t).square().mean())(model)


def _convolution(shape: tuple[int, int, int, int], out: int, dtype: mx.Dtype) -> tuple[mx.array, mx.array]:
    return _values(shape, dtype), _values((out, 3, 3, shape[-1]), dtype, 1) / shape[-1]


def _conv(x: mx.array, weight: mx.array) -> mx.array:
    return mx.conv2d(x, weight, padding=1)


def _largest(dtype: mx.Dtype) -> mx.array:
    """As many frames as Stable Diffusion's autoencoder decodes at once, in its widest layer; the first and the last."""
    config, side = AutoencoderConfig(), SIDE
    width = config.block_out_channels[1]
    frames = frames_at_once(config, side, side)
    _, weight = _convolution((1, 1, 1, width), config.block_out_channels[0], dtype)
    if _plain:
        ends = [_frame(index, side, width, dtype) for index in sorted({0, frames - 1})]
        return mx.concatenate([_conv(frame, weight) for frame in ends])
    whole = _conv(mx.concatenate([_frame(index, side, width, dtype) for index in range(frames)]), weight)
    return whole[mx.array(sorted({0, frames - 1}))]


def _frame(index: int, side: int, width: int, dtype: mx.Dtype) -> mx.array:
    return _values((1, side, side, width), dtype, index)


def _beyond(dtype: mx.Dtype) -> mx.array:
    """1 x 1 convolutions whose results are more than 32 bits count; the ends of them."""
    side, out = 64, 32
    count = BEYOND // (side * side * out) + 2
    weight = _values((out, 1, 1, 1), dtype, 1)
    rows = mx.arange(count, dtype=mx.float32) / count - 0.5  # an image a value

    def images(values: mx.array) -> mx.array:
        return mx.broadcast_to(values[:, None, None, None], (len(values), side, side, 1)).astype(dtype)

    ends = mx.array([0, count // 2, count - 2, count - 1])
    if _plain:
        return mx.conv2d(images(rows[ends]), weight)
    return mx.conv2d(mx.contiguous(images(rows)), weight)[ends]
