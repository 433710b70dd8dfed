"""Clips of one's own as test clips: labelled frames, and the truth that follows from the labels."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from evals.scoring.cases import FINE, VISIBLE, WHOLE, Case
from evals.scoring.score import Truth
from evals.suites.labels import Label, Thing
from evals.tracking.tracker import Tracker
from vdt_mlx.errors import VDTError

SAME_COLOUR = 60.0
"""A pixel this close (of 255 a channel, Euclidean) to an object's colour may be the object's."""
SCENERY = 255
"""In a map: fixed scenery."""


@dataclass(frozen=True)
class OwnCase(Case):
    """A labelled clip. `film` (T, H, W, 3) uint8; `maps` (K, H, W) uint8 label images of the first frames, K >= 0."""

    film: NDArray[np.uint8] = None  # type: ignore[assignment]
    label: Label = None  # type: ignore[assignment]
    maps: NDArray[np.uint8] = None  # type: ignore[assignment]

    @property
    def frames(self) -> NDArray[np.uint8]:
        return self.film

    @property
    def things(self) -> list[Thing]:
        return self.label.things

    @property
    def states(self) -> NDArray[np.float64]:
        return np.concatenate([thing.position[: len(self.film)].ravel() for thing in self.things])

    @cached_property
    def colours(self) -> list[tuple[int, int, int]]:
        found: list[tuple[int, int, int]] = []
        for thing, target in zip(self.things, self.tracker.targets, strict=True):
            red, green, blue = (128, 128, 128) if target is None else (int(v) for v in target.colours[0])
            found.append(thing.colour or (red, green, blue))
        return found

    @cached_property
    def roles(self) -> dict[str, int]:
        return {thing.role: n for n, thing in enumerate(self.things) if thing.role != "other"}

    @cached_property
    def tracker(self) -> Tracker:
        names = [thing.name for thing in self.things]
        if len(self.maps):
            known = self.maps[: self.given].astype(int)
            labels = np.where(known == SCENERY, -2, known - 1)
            return Tracker(self.given_frames[: len(labels)], labels, names)
        labels = np.full((self.given, *self.film.shape[1:3]), -1)
        for n, thing in enumerate(self.things):
            for t in range(self.given):
                if np.isfinite(thing.position[t]).all():
                    own = self._mask(thing, t) if thing.has_shape else self._by_colour(thing, t)
                    labels[t][own] = n
        return Tracker(self.given_frames, labels, names)

    def _mask(self, thing: Thing, t: int, fine: int = 1, margin: int = 0) -> NDArray[np.bool_]:
        """Where an object is in frame t by its shape, `fine` times the resolution, with a margin (pixels) around."""
        height, width = self.film.shape[1:3]
        y, x = np.mgrid[-margin * fine : (height + margin) * fine, -margin * fine : (width + margin) * fine]
        x, y = (x + 0.5) / fine, (y + 0.5) / fine
        if thing.polygons is not None and thing.polygons[t] is not None:
            return _inside(thing.polygons[t], x, y)
        assert thing.radius is not None
        return np.hypot(x - thing.position[t, 0], y - thing.position[t, 1]) < thing.radius

    def _by_colour(self, thing: Thing, t: int) -> NDArray[np.bool_]:
        """The patch of an object's colour that is nearest to its position."""
        if thing.colour is None:
            raise VDTError(f"{thing.name} has neither shape nor colour, and the clip has no map")
        near = np.sqrt(((self.film[t].astype(float) - thing.colour) ** 2).sum(-1)) < SAME_COLOUR
        patches, count = ndimage.label(near)
        if not count:
            return near
        centres = np.array(ndimage.center_of_mass(near, patches, np.arange(1, count + 1)))[:, ::-1] + 0.5
        return patches == 1 + int(np.hypot(*(centres - thing.position[t]).T).argmin())

    @cached_property
    def truth(self) -> Truth:
        label, total = self.label, len(self.film)
        position, share = self._in_sight()
        known = np.array([target is not None for target in self.tracker.targets])
        patient = self.roles.get("patient")
        touch = label.contact_time
        asks = label.contact is not None and patient is not None and not touch < self.given - 1
        return Truth(
            frames=self.film,
            position=position,
            visible=(share >= VISIBLE) & known & np.isfinite(position).all(-1),
            whole=(share >= WHOLE) & known,
            tracked=self.tracker.track(self.film),
            names=self.tracker.names,
            inradius=np.array([target.inradius if target else 0.0 for target in self.tracker.targets]),
            mass=np.array([thing.mass for thing in self.things]),
            agent=self.roles["agent"],
            patient=patient,
            contact=label.contact if asks else None,
            contact_time=touch if self.given - 1 <= touch < total else float("nan"),
            contact_times=np.array([touch] if np.isfinite(touch) else []),
            pixels_per_metre=label.pixels_per_metre,
            fps=label.fps,
            gravity=0.0,
            conserves_momentum=False,
            conserves_energy=False,
            after_contact_only=False,
            given=self.given,
        )

    def _in_sight(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions (T, N, 2) of what can be seen of each object, and the share (T, N) of it; later objects hide
        earlier ones. Without a shape an object is where its label says, and whole."""
        total = len(self.film)
        position = np.stack([thing.position[:total] for thing in self.things], 1).copy()
        share = np.isfinite(position).all(-1).astype(float)
        for t in range(total):
            hidden: Any = None
            for n in range(len(self.things) - 1, -1, -1):
                thing = self.things[n]
                if not thing.has_shape or not share[t, n]:
                    continue
                own = self._mask(thing, t, FINE)
                seen = own if hidden is None else own & ~hidden
                hidden = own if hidden is None else hidden | own
                full = self._area(thing, t)
                share[t, n] = min(seen.sum() / FINE**2 / full, 1.0)
                if share[t, n] < WHOLE:
                    y, x = np.nonzero(seen)
                    position[t, n] = ((x.mean() + 0.5) / FINE, (y.mean() + 0.5) / FINE) if len(x) else np.nan
        return position, share

    def _area(self, thing: Thing, t: int) -> float:
        """Of the whole object, pixels; drawn alike, so that a whole one has a share of 1."""
        reach = thing.radius or float(np.abs(thing.polygons[t] - thing.position[t]).max())  # type: ignore[index]
        inside = (thing.position[t] >= reach).all() and (thing.position[t] <= np.array(self.film.shape[2:0:-1]) - reach)
        if np.all(inside):
            return float(self._mask(thing, t, FINE).sum()) / FINE**2
        return float(self._mask(thing, t, FINE, margin=int(min(reach, 1000)) + 1).sum()) / FINE**2


def _inside(corners: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points lie inside a polygon (even-odd rule)."""
    inside = np.zeros(x.shape, bool)
    before = corners[-1]
    for corner in corners:
        (x1, y1), (x2, y2) = before, corner
        if y1 != y2:
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
        before = corner
    return inside
