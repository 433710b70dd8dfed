"""Frames to object states: where each object is, how large, at which angle, and whether it is there once.

    tracker = Tracker(given_frames, labels)       # learns the objects from true frames, and from nothing else
    tracks = tracker.track(frames)                # (T, N) positions below a pixel, presence, copies, angles

An object is known by its colours and followed by continuity. What it reports is the *visible* centroid: the mean
over the part that is not hidden and not outside the view. Objects of one colour are told apart by continuity.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from evals.tracking.components import SUPPORT, Pieces, centroid, claim, form_of, turned
from evals.tracking.matting import Floats, Palette, drifted, estimate_background, matte
from evals.tracking.recoloured import recover
from evals.tracking.tracks import Target, Tracks
from vdt_mlx.errors import VDTError

MIN_SOLID = 6
"""Fewer pixels than this wholly inside, over all given frames: a thin thing."""
SAME_COLOUR = 36.0
"""Objects whose colours are closer than this (Euclidean, of 255 a channel) are told apart by continuity only."""
FOLDS = (2, 3, 4, 6)
FOLD_STRENGTH = {2: 0.15, 3: 0.2, 4: 0.25, 6: 0.12}
"""How much of an m-fold shape must be seen to call its angle visible: a disc has 0, a plank nearly 1 of m = 2."""


class Tracker:
    """Learns the objects of a clip from its given frames.

    `given` (G, H, W, 3) uint8, true frames. `labels` (G, H, W) int, which object each pixel shows, -1 for none, -2 for
    fixed scenery: the annotation of the given frames that semi-supervised video object tracking starts from.
    `names` (N,): objects that no pixel shows are "unseen" and reported absent. Raises VDTError for wrong shapes.
    """

    def __init__(self, given: NDArray[np.uint8], labels: NDArray[np.integer], names: list[str]) -> None:
        if given.ndim != 4 or given.shape[-1] != 3 or given.dtype != np.uint8 or not len(given):
            raise VDTError(f"Given frames must be uint8 of shape (G, H, W, 3), not {given.dtype} {given.shape}.")
        if labels.shape != given.shape[:3]:
            raise VDTError(f"Labels must have the given frames' shape {given.shape[:3]}, not {labels.shape}.")
        self.names = list(names)
        self.given = given
        self.background = estimate_background(given, labels)
        colours = _learn_colours(given, labels, len(names), self.background)
        groups = _group(colours)
        # A group has the colour of its first object and the marks of all.
        kept = [(c, groups[n]) for n, own in enumerate(colours) for c in own[0 if groups[n] == n else 1 :]]
        thin = {groups[n] for n in range(len(names)) if _solid(labels == n).sum() < MIN_SOLID}
        self.palette = Palette(
            colours=np.array([colour for colour, _ in kept], np.float32).reshape(-1, 3),
            owner=np.array([owner for _, owner in kept], np.intp),
            thin=np.array([owner in thin for _, owner in kept], bool),
        )
        self.targets = self._learn(labels, colours, groups)

    def _learn(self, labels: NDArray[np.integer], colours: list[Floats], groups: list[int]) -> list[Target | None]:
        alpha = matte(self.given, self.background, self.palette).alpha
        targets: list[Target | None] = []
        for n, name in enumerate(self.names):
            mask = labels == n
            if not mask.any() or groups[n] < 0:
                targets.append(None)
                continue
            own = alpha[self.palette.owner == groups[n]].sum(0)
            region = ndimage.binary_dilation(mask, np.ones((1, 3, 3), bool)) & ((labels == n) | (labels < 0))
            areas = (own * (region | mask)).sum((1, 2))
            t = int(areas.argmax())
            y, x = np.nonzero(mask[t])
            cx, cy = x.mean() + 0.5, y.mean() + 0.5
            extent = float(np.hypot(x + 0.5 - cx, y + 0.5 - cy).max() + 0.5)
            outside = np.argwhere(~mask[t])[:, ::-1] + 0.5
            inradius = float(max(np.hypot(*(outside - (cx, cy)).T).min() - 0.5, 0.0))
            first = int(mask.any((1, 2)).argmax())
            y, x = np.nonzero(mask[first])
            where = (float(x.mean() + 0.5), float(y.mean() + 0.5))
            form = form_of(mask[t].astype(np.float32))
            targets.append(Target(name, colours[n], float(areas[t]), extent, inradius, where, form, groups[n]))
        return targets

    def track(self, frames: NDArray[np.uint8]) -> Tracks:
        """Follows every object through `frames` (T, H, W, 3), uint8, the given ones first."""
        if frames.ndim != 4 or frames.shape[1:] != self.given.shape[1:] or frames.dtype != np.uint8:
            raise VDTError(
                f"Frames must be uint8 of shape (T, {', '.join(map(str, self.given.shape[1:]))}), "
                f"not {frames.dtype} {frames.shape}."
            )
        given = len(self.given)
        background = np.repeat(self.background[None], len(frames), 0)
        if len(frames) > given:
            background[given:] = drifted(frames[given:], self.background)
        seen = matte(frames, background, self.palette)
        time, count = len(frames), len(self.names)
        tracks = Tracks(
            position=np.full((time, count, 2), np.nan),
            area=np.zeros((time, count)),
            copies=np.zeros((time, count), np.int64),
            angle=np.full((time, count), np.nan),
            colour_shift=np.full((time, count), np.nan),
            strange=seen.strange.sum((1, 2)).astype(float),
            coverage=np.zeros((count, *frames.shape[:3]), np.float32),
        )
        for group in sorted({target.group for target in self.targets if target}):
            members = [n for n, target in enumerate(self.targets) if target and target.group == group]
            own = self.palette.owner == group
            self._follow(frames, seen.alpha[own], self.palette.colours[own], members, tracks)
        recover(frames, background, self.targets, tracks, given)
        return tracks

    def _follow(
        self, frames: NDArray[np.uint8], alpha: Floats, colours: Floats, members: list[int], tracks: Tracks
    ) -> None:
        """Follows the objects of one colour group; `alpha` (C, T, H, W) has the share of each of its colours."""
        total = alpha.sum(0)
        pieces = Pieces(total)
        targets = [self.targets[n] for n in members]
        area = np.array([target.area for target in targets if target])
        extent = np.array([target.extent for target in targets if target])
        last = np.array([target.position for target in targets if target])
        forms = np.array([target.form for target in targets if target])
        velocity = np.zeros_like(last)
        missing = np.zeros(len(members), int)
        for t in range(len(frames)):
            expected = last + velocity * np.minimum(missing + 1, 3)[:, None]
            claims, copies = claim(pieces, t, expected, area, extent, forms, total[t])
            for m, n in enumerate(members):
                cover = claims[m]
                if cover is None:
                    missing[m] += 1
                    continue
                centre = centroid(cover)
                if missing[m] or not t:
                    velocity[m] = (centre - last[m]) / (missing[m] + 1) if t else 0
                else:
                    velocity[m] = centre - last[m]
                last[m], missing[m] = centre, 0
                if len(members) > 1 and cover.sum() >= 0.9 * area[m]:
                    forms[m] = turned(forms[m], form_of(cover))
                tracks.position[t, n] = centre
                tracks.area[t, n] = cover.sum()
                tracks.copies[t, n] = copies[m]
                tracks.coverage[n, t] = cover
        for n in members:
            share = np.minimum(tracks.coverage[n] / np.maximum(total, 1e-6), 1)
            tracks.angle[:, n] = _angles(alpha * share, tracks.position[:, n])
            tracks.colour_shift[:, n] = _colour_shift(frames, alpha * share, colours)


def _learn_colours(
    given: NDArray[np.uint8], labels: NDArray[np.integer], count: int, background: Floats
) -> list[Floats]:
    """For each object (C, 3): its typical colour, and a second one if it has a mark; (0, 3) if no pixel shows it."""
    found: list[Floats] = [np.zeros((0, 3), np.float32)] * count
    thin = []
    for n in range(count):
        inside = _solid(labels == n)
        if inside.sum() >= MIN_SOLID:
            found[n] = _colours(given[inside].astype(np.float32))
        elif (labels == n).any():
            thin.append(n)
    known = [own[0] for own in found if len(own)]
    for n in thin:
        mask = labels == n
        found[n] = _thin_colour(given, mask, (labels >= 0) & ~mask, background, known)[None]
    return found


def _colours(pixels: Floats) -> Floats:
    """The body's colour, and its mark's if there is one, of pixels (P, 3) that it covers wholly."""
    base = np.median(pixels, 0)
    away = np.sqrt(((pixels - base) ** 2).sum(-1))
    # A mark's edge pixels lie between the two colours: its own colour is among the furthest from the body's.
    far = away > 40
    if far.mean() < 0.03:
        return base[None]
    mark = np.median(pixels[far & (away >= np.quantile(away[far], 0.5))], 0)
    return np.stack([base, mark])


def _thin_colour(
    given: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    others: NDArray[np.bool_],
    background: Floats,
    known: list[Floats],
) -> Floats:
    """The colour of something that covers no pixel wholly: one of the `known` colours if its pixels are mixtures of
    that, else one beyond its fullest pixels, away from the background.

    A colour too far out makes every coverage too small by one factor, which moves no centroid; one that is not far
    enough saturates, which does.
    """
    clear = mask & ~ndimage.binary_dilation(others, np.ones((1, 3, 3), bool))
    clear = clear if clear.any() else mask
    towards = given.astype(np.float32) - background
    contrast = np.sqrt((towards**2).sum(-1))
    fullest = clear & (contrast >= np.quantile(contrast[clear], 0.9))
    behind = np.median(np.broadcast_to(background, given.shape)[fullest], 0)
    step = np.median(towards[fullest], 0)
    length = max(float(np.linalg.norm(step)), 1.0)
    for colour in known:
        way = colour - behind
        far = max(float(np.linalg.norm(way)), 1.0)
        if step @ way >= 0.985 * length * far and 0.95 <= far / length <= 1.8:
            return colour
    return np.clip(behind + 1.25 * step, 0, 255).astype(np.float32)


def _solid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of `mask` (G, H, W) that have only their like around them."""
    return ndimage.binary_erosion(mask, np.ones((1, 3, 3), bool))


def _group(colours: list[Floats]) -> list[int]:
    """For each object the first one whose own colour it shares (itself, mostly); -1 for an unseen one."""
    groups: list[int] = []
    for n, own in enumerate(colours):
        same = [
            m for m in range(n) if groups[m] == m and len(own) and np.linalg.norm(own[0] - colours[m][0]) < SAME_COLOUR
        ]
        groups.append(-1 if not len(own) else same[0] if same else n)
    return groups


def _angles(parts: Floats, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation (T,) since it was first visible, by the mark (C = 2) or by the body's own outline; `parts` (C, T, H, W).

    A shape that looks the same after 1/m of a turn (a long one 2, a triangle 3, a square 4, a hexagon 6) has its
    phase in sum a r^m e^(i m theta); so the angle is right up to multiples of 1/m turn between two frames.
    """
    angles = np.full(parts.shape[1], np.nan)
    cover = parts[1] if len(parts) > 1 else parts[0]
    orders = (2,) if len(parts) > 1 else FOLDS
    moments = np.full((len(cover), len(orders)), np.nan + 0j)
    for t in np.nonzero(np.isfinite(position[:, 0]))[0]:
        y, x = np.nonzero(cover[t] > SUPPORT)
        weight = cover[t][y, x]
        if weight.sum() < 3:
            continue
        z = (x + 0.5) - 1j * (y + 0.5)
        z -= (weight * z).sum() / weight.sum()
        for k, order in enumerate(orders):
            moments[t, k] = (weight * z**order).sum() / (weight * np.abs(z) ** order).sum()
    strength = np.abs(moments)
    for k, order in enumerate(orders):
        seen = np.nonzero(strength[:, k] >= FOLD_STRENGTH[order])[0]
        if len(seen) and np.median(strength[np.isfinite(strength[:, k]), k]) >= FOLD_STRENGTH[order]:
            phase = np.unwrap(np.angle(moments[seen, k])) / order
            angles[seen] = phase - phase[0]
            break
    return angles


def _colour_shift(frames: NDArray[np.uint8], parts: Floats, colours: Floats) -> NDArray[np.float64]:
    """(T,): how far the median pixel of each part is from the part's learned colour, the worst of the parts."""
    shift = np.full(len(frames), np.nan)
    body = parts[0]
    for t in range(len(frames)):
        solid = body[t] > 0.8
        if solid.sum() >= 4:
            shift[t] = np.linalg.norm(np.median(frames[t][solid], 0) - colours[0])
    return shift
