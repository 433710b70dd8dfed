"""Convolutions that change the resolution, and ReLU, by device.

On a CPU, MLX computes the gradient of a strided convolution with plain loops (40 times slower than its forward
pass), and a convolution after an upsampling unrolls four times more pixels than it needs. Both are rewritten here as
ordinary convolutions at the lower resolution, exact up to rounding. On Metal the direct forms are right.
"""

from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from vdt_mlx.device.kernels import on_cpu


def space_to_depth(x: mx.array) -> mx.array:
    """(N, 2H, 2W, C) -> (N, H, W, 4C), the four pixels of a cell row by row."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)


def depth_to_space(x: mx.array) -> mx.array:
    """The inverse of `space_to_depth`."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, 2 * h, 2 * w, c // 4)


def upsample_nearest(x: mx.array) -> mx.array:
    """(N, H, W, C) -> (N, 2H, 2W, C), each pixel repeated."""
    n, h, w, c = x.shape
    return mx.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


def downsample_conv(x: mx.array, weight: mx.array) -> mx.array:
    """A zero-padded 3 x 3 convolution of stride 2: (N, 2H, 2W, C), (O, 3, 3, C) -> (N, H, W, O)."""
    if not on_cpu() or x.shape[1] % 2 or x.shape[2] % 2:
        return mx.conv2d(x, weight, stride=2, padding=1)
    out, _, _, channels = weight.shape
    # Rows -1, 0, 1 of the kernel lie in cells -1 and 0; a row of zeros in front fills the first cell.
    kernel = mx.pad(weight, [(0, 0), (1, 0), (1, 0), (0, 0)]).reshape(out, 2, 2, 2, 2, channels)
    kernel = kernel.transpose(0, 1, 3, 2, 4, 5).reshape(out, 2, 2, 4 * channels)
    return mx.conv2d(mx.pad(space_to_depth(x), [(0, 0), (1, 0), (1, 0), (0, 0)]), kernel)


# For the upper and the lower output row: which kernel rows fall on input rows i - 1, i, i + 1.
_PHASES = np.array([[[1, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]], np.float32)


def upsample_conv(x: mx.array, weight: mx.array) -> mx.array:
    """Nearest upsampling, then a 3 x 3 convolution: (N, H, W, C), (O, 3, 3, C) -> (N, 2H, 2W, O)."""
    if not on_cpu():
        return mx.conv2d(upsample_nearest(x), weight, padding=1)
    out, _, _, channels = weight.shape
    phases = mx.array(_PHASES).astype(weight.dtype)
    # w'[a, b, o, l, m, c] = sum over k, n of phase[a, l, k] phase[b, m, n] w[o, k, n, c]
    both = mx.einsum("alk,bmn->ablmkn", phases, phases).reshape(36, 9)
    kernel = both @ weight.transpose(1, 2, 0, 3).reshape(9, out * channels)
    kernel = kernel.reshape(4, 9, out, channels).transpose(0, 2, 1, 3).reshape(4 * out, 3, 3, channels)
    return depth_to_space(mx.conv2d(x, kernel, padding=1))


@mx.custom_function
def relu_cpu(x: mx.array) -> mx.array:
    """max(x, 0), exactly; in a compiled function on a CPU a maximum is not vectorised, this is."""
    return 0.5 * (x + mx.abs(x))


@relu_cpu.vjp
def _relu_vjp(primals: Any, cotangent: mx.array, _output: Any) -> mx.array:
    x = primals[0] if isinstance(primals, tuple | list) else primals
    return cotangent * (0.5 + 0.5 * mx.sign(x))


def relu(x: mx.array) -> mx.array:
    """max(x, 0), elementwise."""
    return cast(mx.array, relu_cpu(x) if on_cpu() else nn.relu(x))
