"""Frames on their way to the page: PNG strips, paths by colour, and whether two things touch in them."""

import base64
import io

import numpy as np
from PIL import Image
from scipy import ndimage

from vdt_mlx.pair_score import AGENT, PATIENT, TOLERANCE, centroids

TOUCHING = 2.4
"""Pixels of 64 between the red and the yellow, below which they are said to touch: on true frames of validation clips
those that touch come within 2.0, and those that do not stay 2.8 apart."""


def strip(frames: np.ndarray) -> str:
    """Frames (T, H, W, 3) uint8 below each other as a PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(frames.reshape(-1, *frames.shape[2:])).save(buffer, format="PNG", compress_level=3)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def paths(frames: np.ndarray) -> list[list[list[float] | None]]:
    """[[x, y] or None by frame] of the agent and of the patient, in pixels of the frames (T, H, W, 3)."""
    found = centroids(frames)
    return [
        [[round(float(x), 2), round(float(y), 2)] if np.isfinite(x) else None for x, y in found[:, role]]
        for role in range(2)
    ]


def errors(truth: np.ndarray, made: np.ndarray) -> list[float | None]:
    """Mean distance by frame of agent and patient from where the truth has them; None where it shows neither."""
    true, ours = centroids(truth), centroids(made)
    vanished = 20.0 * truth.shape[1] / 64
    away = np.linalg.norm(true - ours, axis=-1)
    away = np.where(np.isfinite(away), away, vanished)
    seen = np.isfinite(true).all(-1)
    return [round(float(row[there].mean()), 3) if there.any() else None for row, there in zip(away, seen, strict=True)]


def touches(frames: np.ndarray) -> bool | None:
    """Whether the red and the yellow come together in a frame of (T, H, W, 3); None if one of them is never there."""
    limit = TOUCHING * frames.shape[1] / 64
    known = False
    for frame in frames:
        red, yellow = (_mask(frame, colour) for colour in (AGENT, PATIENT))
        if red.sum() < 4 or yellow.sum() < 4:
            continue
        known = True
        if ndimage.distance_transform_edt(~yellow)[red].min() <= limit:
            return True
    return False if known else None


def _mask(frame: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.linalg.norm(frame.astype(np.float32) - np.array(colour, np.float32), axis=-1) < 0.6 * TOLERANCE
