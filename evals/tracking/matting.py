"""How much of every pixel each object covers: colours unmixed against the background (soft matting).

A pixel on an outline is a mixture `(1 - a) B + a C` of what is behind and of the object's own colour, so `a`
follows from the colours, and centroids weighted with `a` are exact far below a pixel. Where two objects meet,
three colours mix.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]

NOISE = 6.0
"""Pixels closer than this to the background (Euclidean, of 255 a channel) are background."""
TOLERANCE = 60.0
"""A pixel further than this from every mixture of known colours belongs to no known object."""
REACH = 3
"""Outlines reach at most this many pixels (of 64 a side) beyond the pixels that are an object's beyond doubt."""
SETTLED = 40.0
"""A pixel this close to the background, with all its neighbours, shows how a prediction draws the background."""
ROWS = (8.0, 1.0)
"""Distances down and across: backgrounds are layered, so a pixel is most like its neighbours in the row."""
CONTRAST = 24.0
"""Where a colour is closer than this to the background behind it, nothing can be said about it there."""


@dataclass(frozen=True)
class Palette:
    """The colours of a clip's objects: `colours` (L, 3), 0..255; `owner` (L,), the object group of each, and
    `thin` (L,), whether it is seen on thin things."""

    colours: Floats
    owner: NDArray[np.intp]
    thin: NDArray[np.bool_]


@dataclass(frozen=True)
class Matte:
    """`alpha` (L, T, H, W) in [0, 1], the share of a pixel that each colour covers; `strange` (T, H, W), bool:
    pixels that are neither background nor any known colour."""

    alpha: Floats
    strange: NDArray[np.bool_]


def estimate_background(frames: NDArray[np.uint8], labels: NDArray[np.integer]) -> Floats:
    """The empty scene (H, W, 3) of `frames` (G, H, W, 3): `labels` (G, H, W) is 0 or more on objects, -1 on open
    background, -2 on fixed scenery.

    Per pixel the median over the frames in which no object is within a pixel; where one always is, the nearest such
    pixel of the same kind (scenery has edges), and behind an object of any kind, rows first (sky over ground).
    """
    touched = ndimage.binary_dilation(labels >= 0, np.ones((1, 3, 3), bool))
    free = ~touched.all(0)
    background = np.zeros(frames.shape[1:], np.float32)
    if not free.any():
        background[:] = np.median(frames.reshape(-1, 3), 0)
        return background
    values = np.where(touched[..., None], np.nan, frames.astype(np.float32))
    background[free] = np.nanmedian(values[:, free], 0)
    scenery = (labels == -2).any(0)
    for kind in (scenery, (labels == -1).any(0) & ~scenery):
        rim = kind & ~free
        if not rim.any():
            continue
        source = kind & free
        known = np.where((labels < 0)[..., None] & rim[None, ..., None], frames.astype(np.float32), np.nan)
        background[rim] = np.nanmedian(known[:, rim], 0)
        if source.any():
            distance, nearest = _nearest(source, ROWS)
            close = rim & (distance <= 12)
            background[close] = background[nearest[0][close], nearest[1][close]]
        free = free | rim
    return background[tuple(_nearest(free, ROWS)[1])]


def _nearest(source: NDArray[np.bool_], sampling: tuple[float, float]) -> tuple[NDArray, NDArray]:
    """Distance (H, W) to the nearest pixel of `source`, and its indices (2, H, W)."""
    return ndimage.distance_transform_edt(~source, sampling=sampling, return_indices=True)


def drifted(frames: NDArray[np.uint8], background: Floats) -> Floats:
    """The background (H, W, 3) as these frames draw it: a prediction may be darker, or softer at an edge.

    The mean difference over the frames in which a pixel is far from anything else; its surroundings' where it never is.
    """
    difference = frames.astype(np.float32) - background
    busy = (difference**2).sum(-1) > SETTLED**2
    settled = ~ndimage.binary_dilation(busy, np.ones((1, 3, 3), bool), iterations=2)
    count = settled.sum(0)
    drift = (difference * settled[..., None]).sum(0) / np.maximum(count, 1)[..., None]
    weight = ndimage.gaussian_filter((count > 0).astype(np.float32), 3)[..., None]
    around = ndimage.gaussian_filter(drift, (3, 3, 0)) / np.maximum(weight, 1e-3)
    return background + np.where((count > 0)[..., None], drift, around)


def matte(frames: NDArray[np.uint8], background: Floats, palette: Palette) -> Matte:
    """Unmixes `frames` (T, H, W, 3) into the background, (H, W, 3) or one a frame, and the colours of `palette`."""
    background = np.broadcast_to(background, frames.shape)
    shape = frames.shape[:3]
    alpha = np.zeros((len(palette.colours), *shape), np.float32)
    strange = np.zeros(shape, bool)
    difference = frames.astype(np.float32) - background
    foreground = (difference**2).sum(-1) > NOISE**2
    index = np.flatnonzero(foreground)
    if not len(palette.colours) or not len(index):
        return Matte(alpha, foreground)
    u = difference.reshape(-1, 3)[index]
    towards = palette.colours[None] - background.reshape(-1, 3)[index, None]
    length = (towards**2).sum(-1)
    cover, residual = _one_colour(u, towards, length)

    reach = max(1, round(REACH * shape[2] / 64))
    near = _near(shape, index, cover, residual, reach, palette.thin)
    residual = np.where(near, residual, np.inf)
    best = residual.argmin(1)
    rows = np.arange(len(u))
    error = residual[rows, best]
    share = np.zeros_like(cover)
    share[rows, best] = cover[rows, best]
    _two_colours(u, towards, length, near, share, error)

    known = error < TOLERANCE**2
    strange.reshape(-1)[index] = ~known & ((u**2).sum(-1) > TOLERANCE**2)
    share[~known] = 0
    alpha.reshape(len(alpha), -1)[:, index] = share.T
    return Matte(alpha, strange)


def _one_colour(u: Floats, towards: Floats, length: Floats) -> tuple[Floats, Floats]:
    """Least squares of `u = a (C - B)` for each colour: coverage (F, L) in [0, 1] and squared residual (F, L)."""
    cover = np.clip(np.einsum("fc,flc->fl", u, towards) / np.maximum(length, 1.0), 0, 1)
    residual = ((u[:, None] - cover[..., None] * towards) ** 2).sum(-1)
    return cover, np.where(length < CONTRAST**2, np.inf, residual)


def _near(
    shape: tuple[int, ...],
    index: NDArray[np.intp],
    cover: Floats,
    residual: Floats,
    reach: int,
    thin: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Which colours a pixel may have (F, L): those with a solid patch within `reach` pixels.

    Outlines pass through colours that other objects have; a patch (at least 4 of 3 x 3 pixels; 3 for thin things)
    does not.
    """
    count = cover.shape[1]
    solid = (cover > 0.35) & (residual < TOLERANCE**2)
    kind = np.where(solid, residual + 0.02 * TOLERANCE**2 * (1 - cover), np.inf)
    best = np.where(solid.any(1), kind.argmin(1), count)
    planes = np.zeros((count + 1, *shape), np.float32)
    planes.reshape(count + 1, -1)[best, index] = 1
    planes = planes[:count]
    window = (1, 1, 3, 3)
    enough = np.where(thin, 2.5, 3.5)[:, None, None, None] / 9
    core = (planes > 0) & (ndimage.uniform_filter(planes, window, mode="constant") > enough)
    around = ndimage.maximum_filter(core.view(np.uint8), (1, 1, 2 * reach + 1, 2 * reach + 1), mode="constant")
    return around.reshape(count, -1)[:, index].T.astype(bool)


def _two_colours(
    u: Floats, towards: Floats, length: Floats, near: NDArray[np.bool_], share: Floats, error: Floats
) -> None:
    """Where two colours are near, tries `u = a (C - B) + b (D - B)`, a + b <= 1, and keeps it if it fits better."""
    allowed = length > CONTRAST**2
    penalty = NOISE**2
    for first in range(near.shape[1]):
        for second in range(first + 1, near.shape[1]):
            rows = np.nonzero(near[:, first] & near[:, second] & (error > penalty))[0]
            if not len(rows):
                continue
            v, w, x = towards[rows, first], towards[rows, second], u[rows]
            vv, ww, vw = length[rows, first], length[rows, second], (v * w).sum(1)
            determinant = vv * ww - vw**2
            xv, xw = (x * v).sum(1), (x * w).sum(1)
            firm = determinant > 0.02 * vv * ww
            with np.errstate(divide="ignore", invalid="ignore"):
                a, b = (xv * ww - xw * vw) / determinant, (xw * vv - xv * vw) / determinant
            inside = firm & (a > 0) & (b > 0) & (a + b < 1) & allowed[rows, first] & allowed[rows, second]
            between = v - w  # no background left: the mixture of the two alone
            line = np.clip(((x - w) * between).sum(1) / np.maximum((between**2).sum(1), 1.0), 0, 1)
            a, b = np.where(inside, a, line), np.where(inside, b, 1 - line)
            fit = ((x - a[:, None] * v - b[:, None] * w) ** 2).sum(1) + penalty
            better = fit < error[rows]
            chosen = rows[better]
            share[chosen] = 0
            share[chosen, first], share[chosen, second] = a[better], b[better]
            error[chosen] = fit[better]
