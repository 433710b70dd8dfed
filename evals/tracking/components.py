"""Connected pieces of coverage, and which object each belongs to: claims, fragments, copies, shared pieces."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from evals.tracking.matting import Floats

MIN_SHARE = 0.15
"""Less than this share of an object's area in sight is "absent"."""
MIN_OPACITY = 0.4
"""A ghost whose densest part covers less than this is "absent"."""
COPY_SHARE = 0.4
"""A second piece with at least this share of the area, apart from the first, is a copy."""
SUPPORT = 0.05
"""Coverage below this is noise."""


class Pieces:
    """Connected pieces of coverage (T, H, W), frame by frame."""

    def __init__(self, total: Floats) -> None:
        structure = np.zeros((3, 3, 3), bool)
        structure[1] = True
        self.label, self.count = ndimage.label(total > SUPPORT, structure)
        height, width = total.shape[1:]
        flat, weight = self.label.ravel(), total.ravel()
        solid = np.nonzero(flat)[0]
        piece, weight = flat[solid], weight[solid]
        y, x = np.divmod(solid % (height * width), width)
        self.mass = np.bincount(piece, weight, self.count + 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            cx = np.bincount(piece, weight * (x + 0.5), self.count + 1) / self.mass
            cy = np.bincount(piece, weight * (y + 0.5), self.count + 1) / self.mass
        self.centre = np.stack([cx, cy], -1)
        self.peak = np.zeros(self.count + 1)
        self.frame = np.full(self.count + 1, -1)
        np.maximum.at(self.peak, piece, weight)
        self.frame[piece] = solid // (height * width)

    def at(self, t: int) -> NDArray[np.intp]:
        return np.nonzero(self.frame == t)[0]


def claim(
    pieces: Pieces,
    t: int,
    expected: NDArray[np.float64],
    area: NDArray[np.float64],
    extent: NDArray[np.float64],
    forms: NDArray[np.float64],
    total: Floats,
) -> tuple[list[Floats | None], list[int]]:
    """Gives the pieces of frame t to the M objects of a group: the coverage of each, or None, and the copies."""
    count = len(area)
    claims: list[Floats | None] = [None] * count
    copies = [0] * count
    ids = pieces.at(t)
    ids = ids[pieces.peak[ids] >= MIN_OPACITY]
    if not len(ids):
        return claims, copies
    mass, centre = pieces.mass[ids], pieces.centre[ids]
    label = pieces.label[t]
    # Room for as many objects as a piece is large; each object takes the room that costs it least.
    rooms = np.maximum(np.round(mass / np.median(area)).astype(int), 1) if count > 1 else np.ones(len(ids), int)
    slots = np.repeat(np.arange(len(ids)), np.minimum(rooms, count))
    distance = np.sqrt(((expected[:, None] - centre[None]) ** 2).sum(-1))
    reach = np.where(rooms > 1, np.sqrt(mass / np.pi), 0.0)  # within a shared piece any place is as good
    fullness = np.minimum(mass[None] / np.maximum(area, 1.0)[:, None], 1.0)
    cost = np.maximum(distance - reach[None], 0) + 2 * extent[:, None] * (1 - fullness)
    rows, columns = linear_sum_assignment(cost[:, slots])
    taken: dict[int, list[int]] = {}
    for m, column in zip(rows, columns, strict=True):
        taken.setdefault(int(slots[column]), []).append(int(m))
    loose = [piece for piece in range(len(ids)) if piece not in taken]
    for piece, owners in taken.items():
        cover = np.where(label == ids[piece], total, 0.0)
        parts = [cover] if len(owners) == 1 else _split(cover, expected[owners], forms[owners], area[owners])
        for m, part in zip(owners, parts, strict=True):
            near = [other for other in loose if _apart(centre[other], part) < extent[m] + 1]
            for other in sorted(near, key=lambda other: -mass[other]):  # an object cut in two by one before it
                if part.sum() + mass[other] <= 1.15 * area[m]:
                    part = part + np.where(label == ids[other], total, 0.0)
                    loose.remove(other)
            if part.sum() >= MIN_SHARE * area[m]:
                claims[m], copies[m] = part, 1
    for other in loose:
        m = int(distance[:, other].argmin())
        if mass[other] >= COPY_SHARE * area[m] and claims[m] is not None:
            copies[m] += 1
    return claims, copies


def _apart(point: NDArray[np.float64], cover: Floats) -> float:
    return float(np.hypot(*(point - centroid(cover))))


def centroid(cover: Floats) -> NDArray[np.float64]:
    """Mean position (x, y) of a coverage (H, W)."""
    mass = cover.sum()
    x = (cover.sum(0) * (np.arange(cover.shape[1]) + 0.5)).sum() / mass
    y = (cover.sum(1) * (np.arange(cover.shape[0]) + 0.5)).sum() / mass
    return np.array([x, y], float)


def _split(
    cover: Floats, seeds: NDArray[np.float64], forms: NDArray[np.float64], area: NDArray[np.float64]
) -> list[Floats]:
    """Cuts one piece that several objects of a colour share, from where they are expected and how each is shaped.

    `forms` (M, 2, 2): covariances as last seen. Each is the ellipse of twice its deviations, which turns but keeps its
    size; a pixel goes to the object in which it lies deeper, in parts if it is on the border, and borders move by up to
    a pixel so that everyone gets its share of `area` (M,).
    """
    y, x = np.nonzero(cover)
    points = np.stack([x + 0.5, y + 0.5], -1)
    weight = cover[y, x].astype(float)
    centres, forms = seeds.astype(float).copy(), forms.copy()
    shift = np.zeros(len(seeds))
    target = area * min(weight.sum() / area.sum(), 1.0)
    for _ in range(12):
        away = points[:, None] - centres[None]
        reach = np.sqrt(np.einsum("pmi,mij,pmj->pm", away, np.linalg.inv(forms), away)) / 2
        depth = np.hypot(away[..., 0], away[..., 1]) * (1 - 1 / np.maximum(reach, 0.05)) + shift
        share = np.exp(-(depth - depth.min(1, keepdims=True)) / 0.25)
        share *= (weight / share.sum(1))[:, None]
        shift = np.clip(shift + (share.sum(0) - target) / np.sqrt(4 * np.pi * np.maximum(area, 1.0)), -1, 1)
        for m in range(len(seeds)):
            mass = share[:, m].sum()
            if mass > 1:
                centres[m] = share[:, m] @ points / mass
                off = points - centres[m]
                forms[m] = turned(forms[m], (off * share[:, m : m + 1]).T @ off / mass)
    parts = []
    for m in range(len(seeds)):
        part = np.zeros_like(cover)
        part[y, x] = share[:, m]
        parts.append(part)
    return parts


def turned(form: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """`form` with its own spreads along the axes of `seen`."""
    axes = np.linalg.eigh(seen)[1]
    return axes @ np.diag(np.linalg.eigvalsh(form)) @ axes.T


def form_of(cover: Floats) -> NDArray[np.float64]:
    """Covariance (2, 2) of a coverage (H, W), at least that of a pixel."""
    y, x = np.nonzero(cover)
    points = np.stack([x, y], -1).astype(float)
    weight = cover[y, x] / cover.sum()
    off = points - weight @ points
    return (off * weight[:, None]).T @ off + np.eye(2) / 12
