"""Puts an OpenBLAS in front of the reference BLAS that MLX is linked to on Linux.

MLX's Linux wheels call `cblas_sgemm` through a dynamic symbol. A library that is loaded first, with global symbols,
answers in its place; OpenBLAS multiplies fp32 matrices some 35 times faster than the reference code. On macOS MLX
uses Metal and Accelerate, and this module does nothing.
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
