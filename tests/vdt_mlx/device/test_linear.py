"""Linear layers widened on a CPU against MLX's own products."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from vdt_mlx.device.linear import Linear, QuantizedLinear

pytestmark = pytest.mark.usefixtures("cpu")


@pytest.mark.parametrize(("dtype", "tolerance"), [(mx.float32, 1e-5), (mx.float16, 4e-3), (mx.bfloat16, 3e-2)])
def test_linear(dtype, tolerance) -> None:
    layer = Linear(64, 48)
    layer.set_dtype(dtype)
    x = mx.random.normal((5, 64), key=mx.random.key(0)).astype(dtype)
    out, theirs = layer(x), nn.Linear.__call__(layer, x)
    assert out.dtype == dtype
    assert np.abs(np.array((out - theirs).astype(mx.float32))).max() <= tolerance


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(mx.float32, 1e-5), (mx.float16, 8e-3)])
def test_quantized(bits, dtype, tolerance) -> None:
    layer = Linear(128, 32)
    layer.bias = mx.random.normal((32,), key=mx.random.key(1))
    layer.set_dtype(dtype)
    packed = layer.to_quantized(group_size=64, bits=bits)
    assert isinstance(packed, QuantizedLinear)
    x = mx.random.normal((3, 128), key=mx.random.key(0)).astype(dtype)
    out, theirs = packed(x), nn.QuantizedLinear.__call__(packed, x)
    assert out.dtype == dtype
    assert np.abs(np.array((out - theirs).astype(mx.float32))).max() <= tolerance
