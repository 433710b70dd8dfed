"""TF32: whether a GPU may shorten the mantissas of fp32 products. Off, unless somebody asks for it.

From the M5 and macOS 26.2 on (and on NVIDIA cards), MLX computes fp32 matrix products and some convolutions from
inputs rounded to 10 bits, unless MLX_ENABLE_TF32 is 0 when it first computes. That is 100 times the error of fp32, and
more than what separates a right port from a wrong one.
"""

import os

VARIABLE = "MLX_ENABLE_TF32"


def keep_full() -> None:
    """Full fp32, unless the environment says otherwise. Must run before MLX first computes."""
    os.environ.setdefault(VARIABLE, "0")


def allow_tf32() -> None:
    """TF32 for this process and those that it starts. Must run before MLX first computes."""
    os.environ[VARIABLE] = "1"


def tf32_allowed() -> bool:
    """Whether products of fp32 may be shortened in this process; on a CPU none ever is."""
    return os.environ.get(VARIABLE, "1").strip() != "0"
