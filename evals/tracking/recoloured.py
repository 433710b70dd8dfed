"""Objects that a prediction repainted: absent by their colour, but something of their size goes on where they went.

Such an object is followed by continuity alone, and its change of colour is reported, so that "it changed" and "it
vanished" are told apart.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from evals.tracking.components import MIN_OPACITY, centroid
from evals.tracking.matting import SETTLED, Floats
from evals.tracking.tracks import Target, Tracks

SIZES = (0.4, 2.5)
"""Of a blob, as shares of the object's area, for it to be the object repainted."""
CLAIMED = 0.3
"""Coverage by known objects beyond which a pixel is not up for claims."""


def recover(
    frames: NDArray[np.uint8],
    background: Floats,
    targets: list[Target | None],
    tracks: Tracks,
    start: int,
) -> None:
    """Fills gaps in `tracks` from frame `start` on with blobs of foreign colour that continue a track."""
    absent = np.array([target is not None for target in targets]) & ~tracks.present
    if not absent[start:].any():
        return
    for t in range(max(start, 1), len(frames)):
        missing = np.nonzero(absent[t])[0]
        if not len(missing):
            continue
        difference = np.sqrt(((frames[t].astype(np.float32) - background[t]) ** 2).sum(-1))
        free = (difference > SETTLED) & (tracks.coverage[:, t].sum(0) < CLAIMED)
        label, count = ndimage.label(free, np.ones((3, 3), bool))
        if not count:
            continue
        masks = [label == i for i in range(1, count + 1)]
        contrasts = [float(np.median(difference[mask])) for mask in masks]
        blobs = [
            np.where(mask, np.minimum(difference / contrast, 1.0), 0.0)
            for mask, contrast in zip(masks, contrasts, strict=True)
        ]
        centres = np.array([centroid(blob) for blob in blobs])
        offers = []
        for n in missing.tolist():
            target, expected, speed = targets[n], *_expected(tracks, n, t)
            if target is None or expected is None:
                continue
            distance = np.hypot(*(centres - expected).T)
            for i, blob in enumerate(blobs):
                fits = SIZES[0] * target.area <= blob.sum() <= SIZES[1] * target.area
                own = np.linalg.norm(target.colours[0] - background[t][masks[i]].mean(0))
                bold = contrasts[i] >= MIN_OPACITY * own  # a ghost of it is absent, whatever its colour
                if fits and bold and distance[i] <= max(target.extent, 3.0) + speed:
                    offers.append((float(distance[i]), n, i))
        used: set[int] = set()
        for _, n, i in sorted(offers):
            if i not in used and not tracks.present[t, n]:
                used.add(i)
                _take(frames[t], blobs[i], centres[i], targets, tracks, t, n)


def _expected(tracks: Tracks, n: int, t: int) -> tuple[NDArray[np.float64] | None, float]:
    """Where object n should be in frame t, straight on from its last two places, and how fast it went (px/frame)."""
    seen = np.nonzero(tracks.present[:t, n])[0]
    if not len(seen):
        return None, 0.0
    last = seen[-1]
    velocity = np.zeros(2)
    if len(seen) > 1:
        velocity = (tracks.position[last, n] - tracks.position[seen[-2], n]) / (last - seen[-2])
    gone = min(t - last, 3)
    return tracks.position[last, n] + velocity * gone, float(np.hypot(*velocity)) * gone


def _take(
    frame: NDArray[np.uint8],
    blob: Floats,
    centre: NDArray[np.float64],
    targets: list[Target | None],
    tracks: Tracks,
    t: int,
    n: int,
) -> None:
    own = targets[n]
    assert own is not None
    colour = np.median(frame[blob > 0.8], 0)
    tracks.position[t, n] = centre
    tracks.area[t, n] = blob.sum()
    tracks.copies[t, n] = 1
    tracks.coverage[n, t] = blob
    tracks.colour_shift[t, n] = np.linalg.norm(colour - own.colours[0])
    # It may have passed for a copy of the object whose colour it has now.
    doubled = [m for m, other in enumerate(targets) if other is not None and tracks.copies[t, m] > 1]
    if doubled:
        nearest = min(doubled, key=lambda m: float(np.linalg.norm(colour - targets[m].colours[0])))  # type: ignore[union-attr]
        tracks.copies[t, nearest] -= 1
