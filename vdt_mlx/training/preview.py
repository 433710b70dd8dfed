"""Pictures of a run: contact sheets, and the curves of its log."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vdt_mlx.files import atomic_path


def save_sheet(path: Path, rows: Sequence[np.ndarray], gap: int = 2) -> None:
    """Writes a PNG: one row a clip (T, H, W, 3) uint8, its frames side by side."""
    from PIL import Image

    _, height, width, _ = rows[0].shape
    frames = max(len(row) for row in rows)
    sheet = np.full((len(rows) * (height + gap) + gap, frames * (width + gap) + gap, 3), 40, np.uint8)
    for i, row in enumerate(rows):
        for j, frame in enumerate(row):
            top, left = gap + i * (height + gap), gap + j * (width + gap)
            sheet[top : top + height, left : left + width] = frame
    with atomic_path(path) as partial:
        Image.fromarray(sheet).save(partial)
