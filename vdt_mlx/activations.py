"""The tanh-approximated GELU (Hendrycks & Gimpel 2016), by device.

MLX's CPU back end calls the scalar `tanh` of libm, one value at a time, which costs more than the matrix products
around it. On a CPU we use instead a clamped rational approximation of tanh (degree 13 over 6, the minimax fit that
Eigen and XLA use; within 1e-6 of libm), forward and gradient each compiled into one kernel. On Metal, MLX's own
function is right.
"""

import math
from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
_CUBIC = 0.044715

# tanh(x) = x P(x^2) / Q(x^2) for |x| <= 7.9, beyond which fp32 rounds tanh to 1.
_CLAMP = 7.90531110763549805
_P = (
    4.89352455891786e-03,
    6.37261928875436e-04,
    1.48572235717979e-05,
    5.12229709037114e-08,
    -8.60467152213735e-11,
    2.00018790482477e-13,
    -2.76076847742355e-16,
)
_Q = (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)


def _polynomial(coefficients: tuple[float, ...], y: mx.array) -> mx.array:
    value = y * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * y + coefficient
    return value


def rational_tanh(x: mx.array) -> mx.array:
    """tanh of any shape, elementwise, within 1e-6 in fp32."""
    x = mx.clip(x, -_CLAMP, _CLAMP)
    y = x * x
    return x * _polynomial(_P, y) / _polynomial(_Q, y)


@mx.compile
def _gelu_forward(x: mx.array) -> mx.array:
    return 0.5 * x * (1 + rational_tanh(_SQRT_2_OVER_PI * x * (1 + _CUBIC * x * x)))


@mx.compile
def _gelu_gradient(x: mx.array, cotangent: mx.array) -> mx.array:
    square = x * x
    tanh = rational_tanh(_SQRT_2_OVER_PI * x * (1 + _CUBIC * square))
    slope = _SQRT_2_OVER_PI * (1 + 3 * _CUBIC * square)
    return cotangent * 0.5 * (1 + tanh + x * (1 - tanh * tanh) * slope)


@mx.custom_function
def gelu_cpu(x: mx.array) -> mx.array:
    """Tanh GELU with the rational tanh; its gradient is written out by hand."""
    return _gelu_forward(x)


@gelu_cpu.vjp
def _gelu_vjp(primals, cotangent, _output):
    # A one-argument function may get its argument bare or in a tuple, by MLX version.
    x = primals[0] if isinstance(primals, tuple | list) else primals
    return _gelu_gradient(x, cotangent)


def gelu() -> Callable[[mx.array], mx.array]:
    """The tanh GELU that suits the default device."""
    exact: Callable[[mx.array], mx.array] = gelu_cpu  # type: ignore[assignment]
    return exact if mx.default_device().type == mx.cpu else nn.gelu_approx
