"""A user's own spatial-temporal mask, from a PNG or a .npy."""

from pathlib import Path

import numpy as np

from vdt_mlx.errors import VDTError


def read_mask(path: Path, cells: tuple[int, int, int], size: tuple[int, int]) -> np.ndarray:
    """A user's mask as (T, h, w): a PNG or .npy of (H, W) or (T, H, W), in pixels or in latent cells; above half of
    the range means generate, and a cell is generated if any of its pixels is."""
    if not path.is_file():
        raise VDTError(f"There is no mask file {path}.")
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False, mmap_mode="r")
        elif path.suffix.lower() == ".png":
            from PIL import Image

            with Image.open(path) as image:
                if image.size not in ((size[1], size[0]), (cells[2], cells[1])):
                    raise VDTError(_mask_sizes(path, image.size[::-1], cells, size))
                values = np.asarray(image.convert("L")) > 127
        else:
            raise VDTError(f"The mask {path} is neither a .png nor a .npy.")
    except VDTError:
        raise
    except Exception as error:  # Pillow and numpy have many ways to say that a file is damaged or absurdly large
        raise VDTError(f"The mask {path} cannot be read ({error}).") from None
    if values.dtype.kind not in "biuf" or values.ndim not in (2, 3) or values.shape[-2:] not in (size, cells[1:]):
        raise VDTError(_mask_sizes(path, values.shape, cells, size))
    if values.ndim == 3 and values.shape[0] != cells[0]:
        raise VDTError(f"The mask {path} has {values.shape[0]} frames and the clip has {cells[0]}.")
    top = 1 if values.dtype.kind in "bf" or values.max(initial=0) <= 1 else 255
    values = np.asarray(values) > top / 2
    if values.shape[-2:] == size:
        factor = size[0] // cells[1]
        lead = values.shape[:-2]
        values = values.reshape(*lead, cells[1], factor, cells[2], factor).any(axis=(-3, -1))
    if not values.any():
        raise VDTError(f"The mask {path} is all zero: there is nothing to generate.")
    return np.broadcast_to(values, cells).astype(np.float32)


def _mask_sizes(path: Path, shape: tuple[int, ...], cells: tuple[int, int, int], size: tuple[int, int]) -> str:
    return (
        f"The mask {path} has shape {tuple(shape)}; for this model it must be {size[0]} x {size[1]} pixels or "
        f"{cells[1]} x {cells[2]} cells, one for all frames or {cells[0]} of them."
    )
