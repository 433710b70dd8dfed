"""Both cores for everything: parts of a batch computed side by side on a CPU.

MLX runs one CPU operation at a time, and only the matrix products inside use more than one core. A stream of MLX is a
thread, though. Within `with lanes():` the network sends each part of its batch (or of its gradient) down a stream of
its own, with a BLAS of one thread, so that the work between the matrix products is shared too. On Metal, or for a
batch of one, nothing changes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mlx.core as mx

from vdt_mlx import blas
from vdt_mlx.kernels import on_cpu

_streams: list[mx.Stream] = []
_active = 0


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
    count = min(_active, batch)
    if count < 2:
        return function(*arrays)
    results = []
    for lane in range(count):
        part = slice(batch * lane // count, batch * (lane + 1) // count)
        with mx.stream(_streams[lane]):
            results.append(function(*(None if array is None else array[part] for array in arrays)))
    return mx.concatenate(results)
