"""GELU, softmax attention and layer norm, by device.

On Metal, MLX's own fused functions are right. On a CPU they cost more than the matrix products around them: MLX calls
libm's scalar `tanh` and `exp` one value at a time, and computes its row sums without vector instructions. Here they are
rational functions and polynomials instead, each compiled into one kernel, and row sums are matrix products.

What makes MLX's compiled CPU kernels fast was measured, and explains the form of the formulas:

- A kernel is cut in two when its expression is deeper than 11 operations, and a constant that falls on the cut makes
  the second half a strided loop, four times slower; so does an operand that is broadcast. Estrin's scheme keeps
  polynomials shallow where Horner's is deep; `mx.contiguous`, which costs nothing here, ends a kernel where we want.
- A clamp made of `maximum` and `minimum`, which test for NaN, is not vectorised; one made of absolute values is.

All of it works in fp32 inside, whatever the dtype of its arguments, and without a C++ compiler too (then more slowly).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from vdt_mlx.device.choice import follow_environment

follow_environment()  # everything that computes imports this module

custom_function: Any = mx.custom_function  # its type stub says that it makes an `object`


_forced: bool | None = None


def on_cpu() -> bool:
    """Whether what is computed takes the forms that suit a CPU."""
    return mx.default_device().type == mx.cpu if _forced is None else _forced


@contextmanager
def forms(device: str) -> Iterator[None]:
    """Within, everything takes the forms that suit `cpu` or `gpu`, whichever computes it: there the two must agree."""
    global _forced
    before, _forced = _forced, device == "cpu"
    try:
        yield
    finally:
        _forced = before


# GELU, tanh-approximated (Hendrycks & Gimpel 2016): x F(x), with F = (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.
# F and the derivative of x F are 1/2 + an odd function that is constant to 3e-7 beyond |x| = 4.85. Within, they are
# fitted (least squares, iterated to a minimax fit of errors 8e-8 and 1e-6) by c P(c^2) / Q(c^2), in c = 2 x clamped.

_GELU_RANGE = 4.85
_F = (
    (0.19947101, 0.004703293, 0.00011147115, 1.2533768e-06, 6.0156524e-09, -5.8703389e-12),
    (1.0, 0.065450758, 0.0017016539, 2.1529442e-05, 2.5524045e-07),
)
_SLOPE = (
    (0.39893898, -0.0048531448, 0.00037473077, -6.3276553e-07, 2.9012369e-08, -5.2785082e-11),
    (1.0, 0.071566746, 0.0021448638, 2.8132163e-05, 5.0296023e-07),
)


def _sigmoid_like(x: mx.array, numerator: tuple[float, ...], denominator: tuple[float, ...]) -> mx.array:
    c = mx.abs(x + _GELU_RANGE) - mx.abs(x - _GELU_RANGE)
    y = c * c
    y2 = y * y
    y4 = y2 * y2
    p0, p1, p2, p3, p4, p5 = numerator
    q0, q1, q2, q3, q4 = denominator
    p = ((p0 + p1 * y) + y2 * (p2 + p3 * y)) + y4 * (p4 + p5 * y)
    q = ((q0 + q1 * y) + y2 * (q2 + q3 * y)) + y4 * q4
    return 0.5 + c * p / q


@mx.compile
def _gelu_forward(x: mx.array) -> mx.array:
    return (x * _sigmoid_like(x.astype(mx.float32), *_F)).astype(x.dtype)


@mx.compile
def _gelu_gradient(x: mx.array, cotangent: mx.array) -> mx.array:
    return (cotangent * _sigmoid_like(x.astype(mx.float32), *_SLOPE)).astype(x.dtype)


@custom_function
def gelu_cpu(x: mx.array) -> mx.array:
    """Tanh GELU, elementwise, within 4e-7 |x| of the exact formula; its gradient within 2e-6."""
    return _gelu_forward(x)


@gelu_cpu.vjp
def _gelu_vjp(primals, cotangent, _output):
    return _gelu_gradient(_only(primals), cotangent)


def gelu(x: mx.array) -> mx.array:
    """The tanh GELU."""
    return gelu_cpu(x) if on_cpu() else nn.gelu_approx(x)


# Softmax. For -32 <= s <= 0, exp(s) = p(s / 32)^32; e^-32 = 1e-14 stands for what is smaller.

_EXP_RANGE = 32.0
_EXP = (1.0, 0.99999847, 0.49997303, 0.16650276, 0.041196043, 0.0076284364, 0.00084004686)


@mx.compile
def _exp_root(s: mx.array) -> mx.array:
    z = s * (1 / _EXP_RANGE)
    z2 = z * z
    c0, c1, c2, c3, c4, c5, c6 = _EXP
    return ((c0 + c1 * z) + z2 * (c2 + c3 * z)) + (z2 * z2) * ((c4 + c5 * z) + c6 * z2)


@mx.compile
def _power_32(x: mx.array) -> mx.array:
    for _ in range(5):
        x = x * x
    return x


@custom_function
def softmax_cpu(scores: mx.array) -> mx.array:
    """Softmax along the last axis of fp32 scores; within 2e-5 of each value."""
    below = mx.contiguous(scores - scores.max(axis=-1, keepdims=True))
    root = _exp_root(mx.contiguous(mx.maximum(below, -_EXP_RANGE)))
    exponentials = _power_32(mx.contiguous(root))
    return exponentials * (1 / _row_sum(exponentials))


@softmax_cpu.vjp
def _softmax_vjp(_primals, cotangent, output):
    weights = _only(output)
    return weights * (cotangent - _row_sum(weights * cotangent))


FEW_QUERIES = 8
"""Up to so many, Metal's fused attention is a kernel of its own, for fewer head sizes."""
FUSED_HEADS = {"few": (64, 96, 128), "many": (64, 72, 80, 96, 128)}
"""Head sizes that Metal's fused attention has kernels for, in every version of MLX that there is one in."""


def fused_head(head: int, queries: int) -> int:
    """The size that heads are best filled up to with zeros on a GPU: their own where no kernel is near."""
    sizes = FUSED_HEADS["few" if queries <= FEW_QUERIES else "many"]
    return next((size for size in sizes if head <= size <= 2 * head), head)


def attention(
    q: mx.array, k: mx.array, v: mx.array, scale: float, bias: mx.array | None = None, *, learning: bool = False
) -> mx.array:
    """softmax(q k^T scale + bias) v over (batch, heads, length, head) arrays.

    On a GPU, heads of a size without a fused kernel are filled up with zeros, which changes no product; not if it is
    `learning`, since MLX does not use the fused kernels where there are gradients.
    """
    if not on_cpu():
        head = q.shape[-1]
        wide = head if learning else fused_head(head, q.shape[-2])
        if wide > head:
            q, k, v = (mx.pad(part, [(0, 0)] * 3 + [(0, wide - head)]) for part in (q, k, v))
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=bias)[..., :head]
    dtype = v.dtype
    q, k, v = (array.astype(mx.float32) for array in (q, k, v))  # half-precision products would be slow loops
    scores = (q * scale) @ k.swapaxes(-1, -2)
    if bias is not None:
        scores = scores + bias.astype(mx.float32)
    return (softmax_cpu(scores) @ v).astype(dtype)


# Layer norm


@custom_function
def layer_norm_cpu(x: mx.array, eps: mx.array) -> mx.array:
    """(x - mean) / sqrt(variance + eps) along the last axis, in fp32."""
    return _normalised(x, eps)[0]


@layer_norm_cpu.vjp
def _layer_norm_vjp(primals, cotangent, _output):
    x, eps = primals
    normal, inverse = _normalised(x, eps)
    size = x.shape[-1]
    along = _row_sum(cotangent * normal) / size
    return inverse * (cotangent - _row_sum(cotangent) / size - normal * along), mx.zeros_like(eps)


def _normalised(x: mx.array, eps: mx.array) -> tuple[mx.array, mx.array]:
    size = x.shape[-1]
    centred = mx.contiguous(x - _row_sum(x) / size)
    inverse = mx.rsqrt(_row_sum(centred * centred) / size + eps)
    return mx.contiguous(centred * inverse), inverse


def layer_norm(x: mx.array, weight: mx.array | None, bias: mx.array | None, eps: float) -> mx.array:
    """Layer norm along the last axis; statistics in fp32, result in the dtype of x."""
    if not on_cpu():
        return mx.fast.layer_norm(x, weight, bias, eps)
    out = layer_norm_cpu(x.astype(mx.float32), mx.array(eps))
    if weight is not None:
        out = out * weight
    if bias is not None:
        out = out + bias
    return out.astype(x.dtype)


def _row_sum(x: mx.array) -> mx.array:
    """Sum along the last axis, kept."""
    return x @ mx.ones((x.shape[-1], 1), dtype=x.dtype)


def _only(argument):
    # A function of one argument gets it, and its output, bare or in a tuple, by MLX version.
    return argument[0] if isinstance(argument, tuple | list) else argument
