"""A user's own spatial-temporal mask, from a PNG or a .npy."""

from pathlib import Path

import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.media.images import BLACK, read_image
from vdt_mlx.reading import read_npy


def read_mask(path: Path, cells: tuple[int, int, int], size: tuple[int, int]) -> np.ndarray:
    """A user's mask as (T, h, w): a PNG or .npy of (H, W) or (T, H, W), in pixels or in latent cells.

    Above half of the range means generate, and a cell is generated if any of its pixels is. The range of a .npy is 0
    to 1 if nothing is above 1, else 0 to 255, or 0 to 65535 for 16 bits with values above 255. What is transparent in
    a PNG is given.
    """
    if not path.is_file():
        raise VDTError(f"There is no mask file {path}.")
    if path.suffix.lower() == ".png":
        # What is transparent is not painted, so it is black: given.
        values = read_image(path, background=BLACK)[..., 0]
    elif path.suffix.lower() == ".npy":
        values = read_npy(path, "mask")
    else:
        raise VDTError(f"The mask {path} is neither a .png nor a .npy.")
    if values.dtype.kind not in "biuf" or values.ndim not in (2, 3) or values.shape[-2:] not in (size, cells[1:]):
        raise VDTError(_mask_sizes(path, values.shape, cells, size))
    if values.ndim == 3 and values.shape[0] != cells[0]:
        raise VDTError(f"The mask {path} has {values.shape[0]} frames and the clip has {cells[0]}.")
    values = np.greater(values, _top(path, values) / 2)
    if values.shape[-2:] == size:
        factor = size[0] // cells[1]
        lead = values.shape[:-2]
        values = values.reshape(*lead, cells[1], factor, cells[2], factor).any(axis=(-3, -1))
    if not values.any():
        raise VDTError(f"The mask {path} is all zero: there is nothing to generate.")
    return np.broadcast_to(values, cells).astype(np.float32)


def _top(path: Path, values: np.ndarray) -> int:
    """The value that is white."""
    lowest, highest = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    for top in (1, 255, 65535) if values.dtype == np.uint16 else (1, 255):
        if lowest >= 0 and highest <= top:  # false for NaN too
            return top
    raise VDTError(f"The mask {path} has values of {lowest:g} to {highest:g}; they must be 0 to 1 or 0 to 255.")


def _mask_sizes(path: Path, shape: tuple[int, ...], cells: tuple[int, int, int], size: tuple[int, int]) -> str:
    return (
        f"The mask {path} has shape {tuple(shape)}; for this model it must be {size[0]} x {size[1]} pixels or "
        f"{cells[1]} x {cells[2]} cells, one for all frames or {cells[0]} of them."
    )
