"""Label files of one's own clips: one JSON a clip, read with care.

    {
      "frames": "ball.mp4",                the clip, beside this file (by default the clip of this file's name)
      "objects": [
        {
          "name": "ball",
          "role": "agent",                 "agent", "patient" or "other"; the first object is the agent by default
          "positions": [[20.5, 31.0], null, ...],   one a frame: pixels, x right, y down, pixel centres at halves;
                                           null where it is out of sight
          "radius": 5.5,                   a disc; or
          "polygon": [[-4, -4], [4, -4], [0, 5]],   corners around the position; or
          "polygons": [[[16, 27], [24, 27], [20, 36]], null, ...],  corners in each frame (positions may be left out)
          "colour": "#dc322f",             its colour: finds it where it has no shape and there is no map
          "mass": 1.0
        }
      ],
      "map": "ball-map.png",               or a list of them, for the first context frames: 0 is background, n the n-th
                                           object, 255 fixed scenery
      "contact": true,                     whether agent and patient touch after the context frames
      "contact_time": 9.4,                 when, in frames since the first
      "fps": 10, "pixels_per_metre": 6.4
    }

Only `objects` and each object's `positions` (or `polygons`) are needed.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdt_mlx.errors import VDTError
from vdt_mlx.marked import read_colour
from vdt_mlx.pair_score import Colour
from vdt_mlx.reading import read_json

ROLES = ("agent", "patient", "other")
MAX_OBJECTS = 50
MAX_CORNERS = 1000


@dataclass(frozen=True)
class Thing:
    """An object as its label says. T frames as in the file."""

    name: str
    role: str
    position: NDArray[np.float64]
    """(T, 2) pixels, NaN where out of sight."""
    radius: float | None
    polygons: list[NDArray[np.float64] | None] | None
    """Corners (K, 2) in every frame, None where out of sight."""
    colour: Colour | None
    mass: float

    @property
    def has_shape(self) -> bool:
        return self.radius is not None or self.polygons is not None


@dataclass(frozen=True)
class Label:
    """One clip's label file."""

    path: Path
    frames: str | None
    things: list[Thing]
    maps: list[str]
    contact: bool | None
    contact_time: float
    fps: float
    pixels_per_metre: float

    @property
    def length(self) -> int:
        return len(self.things[0].position)


def read_label(path: Path, colours: dict[str, Colour] | None = None) -> Label:
    """Reads a label file; `colours` (of names or roles) are for objects that say none. Raises VDTError."""
    body = read_json(path, "label file")
    try:
        return _label(path, body, colours or {})
    except VDTError:
        raise
    except (TypeError, KeyError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise VDTError(f"The label file {path} is not as it should be ({type(error).__name__}: {error}).") from None


def _label(path: Path, body: Any, colours: dict[str, Colour]) -> Label:
    if not isinstance(body, dict) or not isinstance(body.get("objects"), list) or not body["objects"]:
        raise VDTError(f"The label file {path} has no objects.")
    if len(body["objects"]) > MAX_OBJECTS:
        raise VDTError(f"The label file {path} has {len(body['objects'])} objects; {MAX_OBJECTS} are the most.")
    anybody = any(entry.get("role") for entry in body["objects"])
    things = []
    for n, entry in enumerate(body["objects"]):
        role = entry.get("role") or ("other" if anybody or n else "agent")
        things.append(_thing(path, entry, n, role, colours))
    _check_together(path, things)
    maps = body.get("map") or []
    contact = body.get("contact")
    if contact is not None and not isinstance(contact, bool):
        raise VDTError(f"The label file {path} says contact {contact!r}; it is true, false or left out.")
    if contact is not None and not any(thing.role == "patient" for thing in things):
        raise VDTError(f"The label file {path} speaks of a contact, and no object is the patient.")
    length = len(things[0].position)
    return Label(
        path=path,
        frames=body.get("frames"),
        things=things,
        maps=[maps] if isinstance(maps, str) else list(maps),
        contact=contact,
        contact_time=_number(path, body, "contact_time", math.nan, 0, length),
        fps=_number(path, body, "fps", 10.0, 1e-3, 1e5),
        pixels_per_metre=_number(path, body, "pixels_per_metre", math.nan, 1e-6, 1e9),
    )


def _thing(path: Path, entry: dict[str, Any], n: int, role: str, colours: dict[str, Colour]) -> Thing:
    name = str(entry.get("name") or f"object {n + 1}")
    said = f"The label file {path} says of {name}"
    if role not in ROLES:
        raise VDTError(f"{said} the role {role!r}; there are {', '.join(ROLES)}.")
    polygons = None
    if entry.get("polygons") is not None:
        polygons = [None if corners is None else _corners(corners, said) for corners in entry["polygons"]]
    if entry.get("positions") is not None:
        position = np.array([(math.nan, math.nan) if p is None else p for p in entry["positions"]], float)
    elif polygons is not None:
        position = np.array([(math.nan, math.nan) if c is None else polygon_centroid(c) for c in polygons], float)
    else:
        raise VDTError(f"{said} neither positions nor polygons.")
    if position.ndim != 2 or position.shape[1:] != (2,) or not len(position):
        raise VDTError(f"{said} positions that are not [x, y] or null, one a frame.")
    if polygons is not None and len(polygons) != len(position):
        raise VDTError(f"{said} {len(position)} positions and {len(polygons)} polygons.")
    if entry.get("polygon") is not None:
        around = _corners(entry["polygon"], said)
        polygons = [around + place if np.isfinite(place).all() else None for place in position]
    radius = entry.get("radius")
    if radius is not None and (isinstance(radius, bool) or not 0 < float(radius) <= 10_000):
        raise VDTError(f"{said} the radius {radius!r}; it is a number of pixels above 0.")
    mass = entry.get("mass", 1.0)
    if isinstance(mass, bool) or not 0 < float(mass) < 1e9:
        raise VDTError(f"{said} the mass {mass!r}; it is a number above 0.")
    value = entry.get("colour", entry.get("color"))
    colour = read_colour(value, said) if value is not None else colours.get(name, colours.get(role))
    return Thing(name, role, position, None if radius is None else float(radius), polygons, colour, float(mass))


def _check_together(path: Path, things: list[Thing]) -> None:
    lengths = sorted({len(thing.position) for thing in things})
    if len(lengths) > 1:
        raise VDTError(f"The label file {path} has objects with {lengths[0]} and with {lengths[-1]} frames.")
    names = [thing.name for thing in things]
    if len(set(names)) != len(names):
        raise VDTError(f"The label file {path} has two objects of one name.")
    for role in ROLES[:2]:
        count = sum(thing.role == role for thing in things)
        if count > 1 or (role == "agent" and not count):
            raise VDTError(f"The label file {path} has {count} objects in the role of {role}; one is needed.")


def _corners(value: Any, said: str) -> NDArray[np.float64]:
    corners = np.array(value, float)
    if corners.ndim != 2 or corners.shape[1:] != (2,) or not 3 <= len(corners) <= MAX_CORNERS:
        raise VDTError(f"{said} a polygon that is not three or more corners [x, y].")
    if not np.isfinite(corners).all() or abs(polygon_area(corners)) < 0.25:
        raise VDTError(f"{said} a polygon without an area.")
    return corners


def polygon_area(corners: NDArray[np.float64]) -> float:
    """Signed area of a polygon (K, 2)."""
    x, y = corners.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def polygon_centroid(corners: NDArray[np.float64]) -> tuple[float, float]:
    """Centroid of a polygon (K, 2)."""
    x, y = corners.T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    area = cross.sum() / 2
    return float(((x + np.roll(x, -1)) * cross).sum() / (6 * area)), float(
        ((y + np.roll(y, -1)) * cross).sum() / (6 * area)
    )


def _number(path: Path, body: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise VDTError(f"The label file {path} says {key} {value!r}; it is a number from {low:g} to {high:g}.")
    return float(value)
