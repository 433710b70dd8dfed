"""Masks of one's own in .npy files."""

import io
import random

import numpy as np

from tests.fuzz.mutations import damaged
from vdt_mlx.media.mask_file import read_mask

TITLE = "masks in .npy"
KINDS = ("?", "u1", "i1", "u2", "i8", "f2", "f4", "f8", "c8", "U3", "M8[s]", "O")
VALUES = (0, 1, 2, 127, 255, 256, 65535, -1, 0.5, float("nan"), float("inf"), 1e300)
SHAPES = ((32, 32), (4, 4), (16, 32, 32), (16, 4, 4), (15, 4, 4), (32, 33), (0, 0), (), (4,), (1, 1, 4, 4), (0, 32, 32))


def case(rng: random.Random, folder):
    with np.errstate(all="ignore"):
        try:
            values = np.zeros(rng.choice(SHAPES), rng.choice(KINDS))
            half = values.reshape(-1)[: values.size // 2]
            half[...] = rng.choice(VALUES)
        except (ValueError, TypeError, OverflowError):
            values = np.zeros((32, 32))
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    data = file.getvalue()
    path = folder / "a.npy"
    path.write_bytes(damaged(rng, data) if rng.random() < 0.5 else data)
    return lambda: read_mask(path, (16, 4, 4), (32, 32))


def check(result) -> str | None:
    good = result.shape == (16, 4, 4) and result.dtype == np.float32 and set(np.unique(result)) <= {0, 1}
    return None if good and result.any() else f"{result.dtype} {result.shape}"
