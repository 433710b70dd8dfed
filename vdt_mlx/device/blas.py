"""Puts an OpenBLAS in front of the reference BLAS that MLX is linked to on Linux.

MLX's Linux wheels call `cblas_sgemm` through a dynamic symbol. A library that is loaded first, with global symbols,
answers in its place; OpenBLAS multiplies fp32 matrices some 35 times faster than the reference code. On macOS MLX
uses Metal and Accelerate, and this module does nothing.

MLX on a CPU also takes every array from malloc, and glibc gives large blocks back to the kernel at once: the page
faults of taking them again cost more than the convolutions that fill them. So we ask glibc to keep freed memory.
"""

import ctypes
import os
import sys

LIBRARY = "libopenblas.so.0"
ADVICE = (
    "MLX is running on its slow reference BLAS; install OpenBLAS for a 30-fold speed-up "
    "(Debian, Ubuntu: sudo apt-get install libopenblas0-pthread)."
)

_loaded: bool | None = None


def load() -> bool:
    """Loads OpenBLAS once; returns whether matrix products are fast here. Must run before `import mlx.core`.

    The environment variable `VDT_BLAS` names another library file, or `none` to leave MLX as it is.
    """
    global _loaded
    if _loaded is None:
        _keep_freed_memory()
        library = os.environ.get("VDT_BLAS", LIBRARY)
        if sys.platform != "linux":
            _loaded = True
        elif library == "none":
            _loaded = False
        else:
            try:
                ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
                _loaded = True
            except OSError:
                _loaded = False
    return _loaded


def set_threads(count: int) -> int:
    """How many threads OpenBLAS uses from now on; returns how many it used. Without OpenBLAS, nothing, and 1."""
    try:
        library = ctypes.CDLL(os.environ.get("VDT_BLAS", LIBRARY), mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        before = library.openblas_get_num_threads()
        library.openblas_set_num_threads(max(count, 1))
    except (OSError, AttributeError):
        return 1
    return before


def evaluate_widely() -> None:
    """Lets MLX walk a graph as wide as lanes want it; for training, before MLX first computes.

    MLX orders a graph breadth first, but not wider than 20 operations, and parts of a batch that could be computed side
    by side then mostly wait for each other: a training step in two lanes is a quarter faster with more room.
    """
    if sys.platform == "linux":
        os.environ.setdefault("MLX_BFS_MAX_WIDTH", "1000")


def _keep_freed_memory() -> None:
    """Large blocks from one heap that is not trimmed (convolutions: twice as fast here). No effect outside glibc."""
    mmap_threshold, trim_threshold, arena_max = -3, -1, -8  # <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
    mallopt(arena_max, 1)  # MLX computes in a thread of its own, whose own heap would be limited to 64 MB
