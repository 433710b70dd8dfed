"""Which device MLX computes on: the one that it prefers, or the one that VDT_DEVICE names (`cpu` or `gpu`)."""

import os

import mlx.core as mx

from vdt_mlx.errors import VDTError

VARIABLE = "VDT_DEVICE"


def choose(name: str) -> None:
    """Computes on `cpu` or `gpu` from now on. Raises VDTError for another name, and for a GPU that is not there."""
    if name not in ("cpu", "gpu"):
        raise VDTError(f"A device is cpu or gpu, not {name!r}.")
    if name == "gpu" and not mx.is_available(mx.gpu):
        raise VDTError("MLX finds no GPU on this machine; use the CPU.")
    mx.set_default_device(mx.gpu if name == "gpu" else mx.cpu)


def follow_environment() -> None:
    """What VDT_DEVICE says, if it says something."""
    name = os.environ.get(VARIABLE, "").strip().lower()
    if not name:
        return
    try:
        choose(name)
    except VDTError as error:
        raise VDTError(f"The environment variable {VARIABLE} is {name!r}. {error}") from None
