"""Where a token is: the fixed sin-cos tables of the official release, and rotary positions.

Rotary positions (RoPE, arXiv 2104.09864) turn each pair of a head's numbers by an angle that grows with the position,
so that a score depends on how far apart two tokens are. Attention along time turns by the frame, attention within a
frame by row and column, attention over the whole clip by all three, each with a share of the pairs (as RoPE-ViT does,
arXiv 2403.13298, whose base of 100 suits the few positions that a clip has).
"""

import mlx.core as mx
import numpy as np

BASE = 100.0
"""Angles are position x BASE^(-i / pairs): neighbours stay apart, the slowest pair turns little over a whole clip."""
TIME, SPACE, CLIP = "time", "space", "clip"
"""What an attention runs along."""


def temporal_table(size: int, positions: np.ndarray) -> np.ndarray:
    """Sin-cos features of positions (N,): (N, size), sines first; frequencies 10000^(-i / (size / 2))."""
    frequencies = 10000.0 ** -(np.arange(size // 2) / (size / 2))
    angles = positions.reshape(-1, 1).astype(np.float64) * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def spatial_table(size: int, grid: tuple[int, int]) -> np.ndarray:
    """2-D sin-cos features (h * w, size), row by row: the first half tells the column, the second the row."""
    rows, columns = np.indices(grid)
    return np.concatenate([temporal_table(size // 2, columns), temporal_table(size // 2, rows)], axis=1)


def resampled(table: mx.array, length: int, axis: int) -> mx.array:
    """Linear interpolation of a table along an axis, ends aligned with ends."""
    source = table.shape[axis]
    where = np.linspace(0, source - 1, length) if length > 1 else np.zeros(1)
    low = np.clip(np.floor(where).astype(np.int32), 0, max(source - 2, 0))
    high = np.minimum(low + 1, source - 1)
    shape = [1] * table.ndim
    shape[axis] = length
    weight = mx.array((where - low).astype(np.float32)).reshape(shape)
    first, second = mx.take(table, mx.array(low), axis=axis), mx.take(table, mx.array(high), axis=axis)
    return first * (1 - weight) + second * weight


def angles(along: str, head: int, frames: int, grid: tuple[int, int]) -> np.ndarray:
    """(length, head / 2) the angles by which an attention's queries and keys are turned.

    `along` is TIME (length `frames`), SPACE (`h * w` of the grid, row by row) or CLIP (all of them, frame by frame).
    """
    pairs = head // 2
    if along == TIME:
        return _turning(np.arange(frames), pairs)
    rows, columns = (axis.reshape(-1) for axis in np.indices(grid))
    if along == SPACE:
        return np.concatenate([_turning(rows, pairs - pairs // 2), _turning(columns, pairs // 2)], axis=1)
    third = pairs // 3
    times = np.arange(frames).repeat(len(rows))
    each = [(times, pairs - 2 * third), (np.tile(rows, frames), third), (np.tile(columns, frames), third)]
    return np.concatenate([_turning(positions, share) for positions, share in each], axis=1)


def _turning(positions: np.ndarray, pairs: int) -> np.ndarray:
    return positions.reshape(-1, 1) * BASE ** -(np.arange(pairs) / pairs)


def rotations(along: str, head: int, frames: int, grid: tuple[int, int]) -> mx.array:
    """(2, length, head / 2) cosines and sines of `angles`, fp32."""
    turned = angles(along, head, frames, grid)
    return mx.array(np.stack([np.cos(turned), np.sin(turned)]).astype(np.float32))


def rotate(x: mx.array, rotation: mx.array) -> mx.array:
    """x (..., length, head) turned by (2, length, head / 2); number i of a head's first half is paired with i of its
    second. Computed in fp32, in the dtype of x again."""
    cos, sin = rotation[0], rotation[1]
    first, second = mx.split(x.astype(mx.float32), 2, axis=-1)
    return mx.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)
