"""What a result was computed on: recorded beside samples, scores and checkpoints."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import mlx.core as mx

from vdt_mlx.device import blas, precision


def describe() -> dict[str, Any]:
    """The device that MLX computes on now, and what of it decides the last bits of a result.

    `device` (cpu or gpu), `chip`, `platform`, `mlx` (its version) and `tf32` (whether fp32 products may be shortened);
    `openblas` on Linux's CPU.
    """
    on_gpu = mx.default_device().type == mx.gpu
    found: dict[str, Any] = {
        "device": "gpu" if on_gpu else "cpu",
        "chip": chip(),
        "platform": platform.platform(),
        "mlx": _version("mlx"),
        "tf32": on_gpu and precision.tf32_allowed(),
    }
    if not on_gpu and platform.system() == "Linux":
        found["openblas"] = blas.load()
    return found


def chip() -> str:
    """The name of the processor that computes: `Apple M2 Pro`, `AMD EPYC`, ..."""
    return str(device_info().get("device_name") or platform.processor() or platform.machine())


def device_info() -> dict[str, Any]:
    """What MLX knows of the device that it computes on; empty where it tells nothing."""
    try:
        return dict(mx.device_info(mx.default_device()))
    except (RuntimeError, ValueError):
        return {}


def machine_line() -> str:
    """The machine in half a line: system, architecture, cores, chip."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {chip()}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
