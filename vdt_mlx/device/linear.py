"""Linear layers, by device.

Only fp32 matrix products reach the BLAS on a CPU: MLX multiplies half-precision matrices there with plain loops (24
times slower for a layer of VDT-S), and packed 4-bit and 8-bit ones too (100 times slower). So on a CPU the weights of
one layer at a time are widened to fp32, with MLX's own `dequantize` where they are packed; results are rounded to the
dtype of the input, as on Metal, where MLX's own products are right.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from vdt_mlx.device.kernels import on_cpu


def linear(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    """x weight^T + bias, for weight (out, in)."""
    if x.dtype != mx.float32 and on_cpu():
        wide = mx.addmm(bias.astype(mx.float32), x.astype(mx.float32), weight.astype(mx.float32).T)
        return wide.astype(x.dtype)
    return mx.addmm(bias, x, weight.T)


class Linear(nn.Linear):
    """`nn.Linear` with a bias."""

    def __call__(self, x: mx.array) -> mx.array:
        return linear(x, self.weight, self.bias)

    def to_quantized(self, *args: Any, **options: Any) -> nn.Module:
        return QuantizedLinear.from_linear(self, *args, **{k: v for k, v in options.items() if k != "quantize_input"})


class QuantizedLinear(nn.QuantizedLinear):
    """`nn.QuantizedLinear` with a bias."""

    def __call__(self, x: mx.array) -> mx.array:
        if not on_cpu():
            return super().__call__(x)
        weight = mx.dequantize(
            self.weight, self.scales, self.biases, group_size=self.group_size, bits=self.bits, mode=self.mode
        )
        return linear(x, weight, self.bias)
