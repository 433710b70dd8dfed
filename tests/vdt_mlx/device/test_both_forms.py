"""Every line of the code that depends on the device is run, in its form for a CPU and in that for a GPU, and agrees.

Lines are counted by a trace function; a line that neither form reaches fails the test, by its number.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.device import convolution, cpu_streams, kernels, linear

DTYPES = (mx.float32, mx.float16)


def values(*shape: int, seed: int = 0, dtype: mx.Dtype = mx.float32) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed)).astype(dtype)


def with_gradient(function: Callable[[mx.array], mx.array], x: mx.array) -> list[mx.array]:
    return [function(x), mx.vjp(function, [x], [values(*function(x).shape, seed=9)])[1][0]]


def run_linear() -> list[mx.array]:
    found = []
    for dtype in DTYPES:
        layer = linear.Linear(64, 32)
        layer.weight, layer.bias = values(32, 64, seed=1, dtype=dtype), values(32, seed=2, dtype=dtype)
        x = values(3, 64, dtype=dtype)
        found += [layer(x), layer.to_quantized(group_size=32, bits=8)(x)]
    return found


def run_convolution() -> list[mx.array]:
    x, odd = values(2, 8, 8, 4), values(1, 5, 7, 4)
    kernel = values(6, 3, 3, 4, seed=1)
    packed = convolution.space_to_depth(x)
    return [
        convolution.depth_to_space(packed) - x,
        convolution.downsample_conv(odd, kernel),
        *with_gradient(lambda x: convolution.downsample_conv(x, kernel), x),
        *with_gradient(lambda x: convolution.upsample_conv(x, kernel), x),
        *with_gradient(convolution.relu, x),
    ]


def run_kernels() -> list[mx.array]:
    x, weight, bias = values(4, 16), values(16, seed=1), values(16, seed=2)
    q = values(2, 3, 5, 8)
    return [
        *with_gradient(kernels.gelu, x),
        *with_gradient(lambda q: kernels.attention(q, q, q, scale=0.3), q),
        *with_gradient(lambda q: kernels.attention(q, q, q, scale=0.3, bias=values(5, 5, seed=3)), q),
        *with_gradient(lambda q: kernels.attention(q, q, q, scale=0.3), values(2, 2, 5, 48, seed=4)),
        *with_gradient(lambda x: kernels.layer_norm(x, None, None, 1e-6), x),
        *with_gradient(lambda x: kernels.layer_norm(x, weight, bias, 1e-6), x),
        kernels.attention(*(q.astype(mx.float16) for _ in range(3)), scale=0.3),
    ]


def run_streams() -> list[mx.array]:
    x = values(5, 4, 6)
    found = []
    for count in (1, 2, None):
        with cpu_streams.lanes(count), cpu_streams.lanes(count):
            found.append(cpu_streams.over_batch(lambda x, y: x + (0 if y is None else y), x, None))
            found += [cpu_streams.over_axis(lambda x: 2 * x, x, axis) for axis in (1, 2)]
            found.append(cpu_streams.over_batch(lambda x: cpu_streams.over_axis(mx.sin, x, 1), x))
    return found


FILES = {linear: run_linear, convolution: run_convolution, kernels: run_kernels, cpu_streams: run_streams}


def lines_in(module: ModuleType) -> set[int]:
    """The lines of a module's functions (of what stands outside them, the import has seen to that)."""

    def inside(code: CodeType) -> Iterator[int]:
        for constant in code.co_consts:
            if isinstance(constant, CodeType) and not constant.co_name.startswith("<generic"):
                is_class = "__qualname__" in constant.co_names and "__module__" in constant.co_names
                if not is_class:
                    yield from (line for _, _, line in constant.co_lines() if line and line != constant.co_firstlineno)
                yield from inside(constant)

    text = Path(module.__file__).read_text(encoding="utf-8")
    return set(inside(compile(text, module.__file__, "exec")))


@contextmanager
def watched(module: ModuleType) -> Iterator[set[int]]:
    """The lines of a module that are run within."""
    seen: set[int] = set()

    def trace(frame, event, _argument):
        if frame.f_code.co_filename != module.__file__:
            return None
        seen.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("module", FILES, ids=lambda module: module.__name__.rsplit(".", 1)[-1])
def test_both_forms_agree_and_no_line_is_left_out(cpu, uncompiled, monkeypatch, module: ModuleType) -> None:
    results = {}
    monkeypatch.setattr(cpu_streams, "_streams", [])  # other tests have made them
    with watched(module) as seen:
        for device in ("cpu", "gpu"):
            with kernels.forms(device):
                results[device] = FILES[module]()
                mx.eval(results[device])
        assert kernels.on_cpu()
        cores = cpu_streams.available_cores()
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        assert cpu_streams.available_cores() >= cores
    for ours, theirs in zip(results["cpu"], results["gpu"], strict=True):
        allowed = 1e-4 if ours.dtype == mx.float32 else 2e-2
        np.testing.assert_allclose(np.array(ours), np.array(theirs), atol=allowed, rtol=allowed)
    assert sorted(lines_in(module) - seen) == []
