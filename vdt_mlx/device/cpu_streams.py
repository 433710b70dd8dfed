"""All cores for everything: parts of a batch, or of one clip, computed side by side on a CPU.

MLX runs one CPU operation at a time, and only the matrix products inside use more than one core. A stream of MLX is a
thread, though. Within `with lanes():` the network sends each part of its batch (or of its gradient) down a stream of
its own, with a BLAS of one thread, so that the work between the matrix products is shared too; of a single clip, each
block's attention along time is shared out by patches and the rest by frames. On Metal, or on one core, nothing changes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mlx.core as mx

from vdt_mlx.device import blas
from vdt_mlx.device.kernels import on_cpu

_streams: list[mx.Stream] = []
_active = 0
_inside = False
"""Whether the graph is being built of one lane's part: it is not split again."""


@contextmanager
def lanes(count: int | None = None) -> Iterator[int]:
    """Splits batches into `count` parts (by default one for each core, up to 8); yields how many."""
    global _active
    wanted = min(count or available_cores(), 8)
    if wanted < 2 or not on_cpu() or _active:
        yield _active or 1
        return
    while len(_streams) < wanted:
        _streams.append(mx.new_stream(mx.cpu))
    threads = blas.set_threads(1)
    _active = wanted
    try:
        yield wanted
    finally:
        _active = 0
        blas.set_threads(threads)


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def over_batch(function: Callable[..., mx.array], *arrays: mx.array | None) -> mx.array:
    """function(*arrays), along axis 0 of all of them (None is passed on), in the lanes if there are any."""
    batch = max(array.shape[0] for array in arrays if array is not None)
    if _count(batch) < 2:
        return function(*arrays)
    return _in_lanes(lambda part: function(*(None if a is None else a[part] for a in arrays)), batch, 0)


def over_axis(function: Callable[[mx.array], mx.array], x: mx.array, axis: int) -> mx.array:
    """function(x) along axis 1 or 2, which it keeps, in the lanes; not again where x is a lane's part already."""
    if _count(x.shape[axis]) < 2:
        return function(x)
    return _in_lanes(lambda part: function(x[:, part] if axis == 1 else x[:, :, part]), x.shape[axis], axis)


def _count(length: int) -> int:
    return 1 if _inside else min(_active, length)


def _in_lanes(function: Callable[[slice], mx.array], length: int, axis: int) -> mx.array:
    global _inside
    count, results = _count(length), []
    _inside = True
    try:
        for lane in range(count):
            with mx.stream(_streams[lane]):
                results.append(function(slice(length * lane // count, length * (lane + 1) // count)))
    finally:
        _inside = False
    return mx.concatenate(results, axis=axis)
