"""The CPU kernels against the exact formulas, values and gradients."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from vdt_mlx.device import kernels

pytestmark = pytest.mark.usefixtures("cpu")

CASES = {
    "gelu": (kernels.gelu_cpu, nn.gelu_approx, (64, 96), 2e-5),
    "softmax": (kernels.softmax_cpu, lambda s: mx.softmax(s, axis=-1), (64, 96), 2e-5),
    "layer_norm": (
        lambda x: kernels.layer_norm_cpu(x, mx.array(1e-6)),
        lambda x: mx.fast.layer_norm(x, None, None, 1e-6),
        (64, 96),
        2e-5,
    ),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, compiled) -> None:
    ours, exact, shape, tolerance = CASES[name]
    x, cotangent = (mx.array(np.random.default_rng(s).normal(0, 3 - 2 * s, shape).astype(np.float32)) for s in (0, 1))

    def both(function, x):
        return function(x), mx.vjp(function, [x], [cotangent])[1][0]

    run = mx.compile(lambda x: both(ours, x)) if compiled else lambda x: both(ours, x)
    for mine, theirs in zip(run(x), both(exact, x), strict=True):
        assert np.abs(np.array(mine - theirs)).max() <= tolerance


def test_gelu_keeps_its_relative_error_far_out() -> None:
    x = np.concatenate([np.linspace(-12, 12, 20001), [-1e6, -1e3, 1e3, 1e6]])
    exact = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    error = np.abs(np.array(kernels.gelu_cpu(mx.array(x.astype(np.float32)))) - exact)
    assert (error <= 4e-7 * np.abs(x) + 1e-7).all()


@pytest.mark.parametrize("scores", [[0.0, -1e30, -1e4, -40.0], [1e30, 1e30, 0.0, 0.0], [5.0, 5.0, 5.0, 5.0]])
def test_softmax_of_extreme_scores(scores) -> None:
    ours = np.array(kernels.softmax_cpu(mx.array([scores])))
    assert np.abs(ours - np.array(mx.softmax(mx.array([scores]), axis=-1))).max() <= 2e-6


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_attention_and_norm_keep_the_dtype(dtype) -> None:
    q, k, v = (mx.random.normal((2, 3, 5, 8), key=mx.random.key(i)).astype(dtype) for i in range(3))
    out = kernels.attention(q, k, v, scale=0.35)
    exact = mx.fast.scaled_dot_product_attention(*(a.astype(mx.float32) for a in (q, k, v)), scale=0.35)
    assert out.dtype == dtype
    assert np.abs(np.array(out.astype(mx.float32) - exact)).max() <= (1e-5 if dtype == mx.float32 else 3e-2)
    normal = kernels.layer_norm(v, mx.ones(8, dtype), mx.zeros(8, dtype), 1e-5)
    assert normal.dtype == dtype
