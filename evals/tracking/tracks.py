"""What the tracker knows of an object, and what it saw."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evals.tracking.matting import Floats


@dataclass(frozen=True)
class Target:
    """An object as it was learned from the given frames."""

    name: str
    colours: Floats
    """(C, 3): the body's own colour, then its mark's, if it has one."""
    area: float
    """Pixels."""
    extent: float
    """The largest distance of its outline from its centroid, pixels."""
    inradius: float
    """The smallest distance of its outline from its centroid, pixels: two such discs can never overlap."""
    position: tuple[float, float]
    """Centroid in the first given frame in which it is seen, pixels (x right, y down)."""
    form: NDArray[np.float64]
    """(2, 2) covariance of its pixels when it was largest in sight."""
    group: int
    """Targets of one group have one colour."""


@dataclass
class Tracks:
    """What the tracker saw. T frames, N objects; pixel coordinates (x right, y down, pixel centres at .5)."""

    position: NDArray[np.float64]
    """(T, N, 2), NaN where absent. With copies, the one that continues the track."""
    area: NDArray[np.float64]
    """(T, N) pixels, summed coverage."""
    copies: NDArray[np.int64]
    """(T, N): 0 absent, 1, or how many of it there are."""
    angle: NDArray[np.float64]
    """(T, N) radians counter-clockwise, unwrapped, relative to the first frame where it is visible; else NaN."""
    colour_shift: NDArray[np.float64]
    """(T, N) distance (of 255 a channel, Euclidean) of its typical colour from the learned one; NaN where absent."""
    strange: NDArray[np.float64]
    """(T,) pixels of a colour that nothing in the given frames had."""
    coverage: Floats = field(repr=False)
    """(N, T, H, W) in [0, 1]."""

    @property
    def present(self) -> NDArray[np.bool_]:
        return self.copies > 0

    def gap(self, first: int, second: int) -> NDArray[np.float64]:
        """Pixels between the outlines of two objects in each frame (T,), about 0 or less when they touch; else NaN."""
        return outline_gap(self.coverage[first], self.coverage[second])


def outline_gap(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Distance between the half-coverage outlines of two coverages (T, H, W), per frame, pixels; NaN if one is empty.

    A pixel of coverage a has the outline about (a - 1/2) pixels beyond its centre, so the distance of two pixels'
    centres less both offsets, at its smallest over all pairs, is the gap to a fraction of a pixel.
    """
    gaps = np.full(len(first), np.nan)
    for t, (a, b) in enumerate(zip(first, second, strict=True)):
        one, two = np.argwhere(a > 0.25), np.argwhere(b > 0.25)
        if len(one) and len(two):
            distance = np.sqrt(((one[:, None] - two[None]) ** 2).sum(-1))
            offset = (a[tuple(one.T)] - 0.5)[:, None] + (b[tuple(two.T)] - 0.5)[None]
            gaps[t] = (distance - offset).min()
    return gaps
