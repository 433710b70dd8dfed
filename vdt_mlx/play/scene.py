"""Scenes as the page knows them: plain JSON values, read within limits, and what in them cannot be simulated.

{"version": 1, "gravity": 3.0, "bodies": [body, ...], "joints": [joint, ...]}
body   {"name", "role": agent | patient | distractor | static, "colour": [r, g, b], "fixed", "rests", "group",
        "elasticity", "friction", "density", "parts": [part, ...]}
part   {"position": [x, y], "angle", "velocity": [x, y], "spin", "shapes": [shape, ...]}      m, rad, m/s, rad/s
shape  {"kind": "ball", "radius"} | {"kind": "polygon", "vertices": [[x, y], ...]}
        | {"kind": "capsule", "start": [x, y], "end": [x, y], "radius"}
joint  {"first": [body, part], "second": [body, part] or null, "point": [x, y]}
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from physics_sim.clip import Clip
from physics_sim.scene import Body, Joint, Part, Scene
from physics_sim.shapes import Capsule, Circle, Polygon, Shape, distance, outline
from physics_sim.units import BACKGROUNDS, WORLD
from physics_sim.world import simulate
from vdt_mlx.errors import VDTError
from vdt_mlx.reading import read_json

VERSION = 1
MAX_BODIES, MAX_PARTS, MAX_SHAPES, MAX_VERTICES = 16, 48, 96, 12
FASTEST = 8.0
"""m/s: half as fast again as anything that the model may have seen; beyond it things fly past between two frames."""
FASTEST_SPIN = 20.0
ROLES = ("agent", "patient", "distractor", "static")
OVERLAP = 0.1
"""Metres that two bodies may be drawn into each other; the simulator's own scenes have up to 0.065."""


@dataclass(frozen=True)
class Fault:
    """What cannot be simulated, and on which body to say so ("" for the scene)."""

    body: str
    text: str


def read_scene(value: Any) -> Scene:
    """A scene from JSON values. Raises VDTError with one sentence for anything that does not fit."""
    body = _table(value, "The scene")
    if body.get("version", VERSION) != VERSION:
        raise VDTError(f"The scene has version {body.get('version')!r}; this program reads version {VERSION}.")
    bodies = tuple(_body(entry) for entry in _list(body.get("bodies"), "bodies", MAX_BODIES))
    names = [entry.name for entry in bodies]
    if len(set(names)) < len(names):
        raise VDTError("Two things in the scene have one name.")
    for role in ("agent", "patient"):
        if sum(entry.role == role for entry in bodies) > 1:
            raise VDTError(f"The scene has more than one {role}.")
    if sum(len(entry.parts) for entry in bodies) > MAX_PARTS:
        raise VDTError(f"The scene has more than {MAX_PARTS} parts.")
    if sum(len(part.shapes) for entry in bodies for part in entry.parts) > MAX_SHAPES:
        raise VDTError(f"The scene has more than {MAX_SHAPES} shapes.")
    joints = tuple(_joint(entry, bodies) for entry in _list(body.get("joints", []), "joints", MAX_PARTS))
    gravity = _number(body.get("gravity", 3.0), "gravity", -10, 20)
    background = tuple(
        _number(c, "background", 0, 255) for c in _list(body.get("background", BACKGROUNDS[0]), "background", 3)
    )
    return Scene(bodies, joints, gravity, tuple(int(c) for c in background))  # type: ignore[arg-type]


def is_scene(value: Any) -> bool:
    """Whether JSON values look like a scene, before anything in them is checked."""
    return isinstance(value, dict) and "bodies" in value


def open_scene(path: Path) -> Scene:
    """A scene from a file that the page saved. Raises VDTError if it is none, or cannot be simulated."""
    value = read_json(path, "scene")
    if not is_scene(value):
        raise VDTError(f"{path} has no bodies, so it is not a scene that `vdt-mlx play` saved.")
    try:
        scene = read_scene(value)
    except VDTError as error:
        raise VDTError(f"{path}: {error}") from None
    for fault in faults(scene):
        raise VDTError(f"{path}: {f'{fault.body}: ' if fault.body else ''}{fault.text}")
    return scene


def drawn_clip(scene: Scene, frames: int, size: int) -> Clip:
    """What the simulator makes of a scene that somebody drew, in so many frames of size x size pixels."""
    return Clip(scene, simulate(scene, frames=frames), "drawn", "drawn", 0, 0, size)


def write_scene(scene: Scene) -> dict[str, Any]:
    """The inverse of `read_scene`."""
    return {
        "version": VERSION,
        "gravity": scene.gravity,
        "background": list(scene.background),
        "bodies": [
            {
                "name": body.name,
                "role": body.role,
                "colour": list(body.colour),
                "fixed": body.fixed,
                "rests": body.rests,
                "group": body.group,
                "elasticity": body.elasticity,
                "friction": body.friction,
                "density": body.density,
                "parts": [
                    {
                        "position": list(part.position),
                        "angle": part.angle,
                        "velocity": list(part.velocity),
                        "spin": part.angular_velocity,
                        "shapes": [_write_shape(shape) for shape in part.shapes],
                    }
                    for part in body.parts
                ],
            }
            for body in scene.bodies
        ],
        "joints": [
            {
                "first": list(joint.first),
                "second": list(joint.second) if joint.second else None,
                "point": list(joint.point),
            }
            for joint in scene.joints
        ],
    }


def faults(scene: Scene) -> list[Fault]:
    """Why a scene cannot be simulated as it is drawn; nothing if it can."""
    found = []
    if scene.index("agent") is None:
        found.append(Fault("", "Nothing is the red agent yet: choose who is."))
    for body in scene.bodies:
        speed = max(math.hypot(*part.velocity) for part in body.parts)
        if speed > FASTEST:
            found.append(Fault(body.name, f"Too fast: {speed:.1f} m/s, at most {FASTEST:g}."))
        if not body.fixed and not all(_inside(part.position) for part in body.parts):
            found.append(Fault(body.name, "Out of the picture."))
    hung = {joint.first[0] for joint in scene.joints}  # on a peg that they may well reach into
    for place, first in enumerate(scene.bodies):
        for second in scene.bodies[place + 1 :]:
            if (first.name in hung and second.fixed) or (second.name in hung and first.fixed):
                continue
            if (first.fixed and second.fixed) or (first.group and first.group == second.group):
                continue
            if overlap(first, second) > OVERLAP:
                found.append(Fault(first.name if second.fixed else second.name, "Overlaps another thing."))
    return found


def overlap(first: Body, second: Body) -> float:
    """Metres by which the outlines of two bodies reach into each other; 0 or less where they do not."""
    return max(_deepest(first, second), _deepest(second, first))


def _deepest(outer: Body, inner: Body) -> float:
    """How deep a point of the outline of `inner` (or the middle of a part) lies in `outer`."""
    deepest = -math.inf
    for part in inner.parts:
        for shape in part.shapes:
            points = np.concatenate([outline(shape, 32), outline(shape, 32).mean(axis=0, keepdims=True)])
            world = _turned(points, part.angle) + part.position
            for other in outer.parts:
                own = _turned(world - np.asarray(other.position), -other.angle)
                for solid in other.shapes:
                    x, y = own[:, 0].astype(np.float32), own[:, 1].astype(np.float32)
                    deepest = max(deepest, float(-distance(solid, x, y).min()))
    return deepest


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _inside(position: tuple[float, float]) -> bool:
    return all(0 <= value <= WORLD for value in position)


# ---- reading values


def _body(value: Any) -> Body:
    entry = _table(value, "A thing in the scene")
    name = entry.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= 40 or not name.isprintable():
        raise VDTError("A thing in the scene has no name of 1 to 40 characters.")
    role = entry.get("role", "distractor")
    if role not in ROLES:
        raise VDTError(f"The role of {name} is one of {', '.join(ROLES)}.")
    parts = tuple(_part(part, name) for part in _list(entry.get("parts"), f"the parts of {name}", MAX_PARTS))
    if not parts:
        raise VDTError(f"{name} has no part.")
    colour = tuple(int(_number(c, f"the colour of {name}", 0, 255)) for c in _list(entry.get("colour"), "colour", 3))
    if len(colour) != 3:
        raise VDTError(f"The colour of {name} is three numbers.")
    return Body(
        name,
        role,
        parts,
        colour,
        elasticity=_number(entry.get("elasticity", 0.5), f"the bounce of {name}", 0, 1),
        friction=_number(entry.get("friction", 0.6), f"the friction of {name}", 0, 2),
        density=_number(entry.get("density", 1.0), f"the density of {name}", 0.01, 100),
        fixed=entry.get("fixed") is True,
        rests=entry.get("rests") is True,
        group=int(_number(entry.get("group", 0), f"the group of {name}", 0, 1000)),
    )


def _part(value: Any, name: str) -> Part:
    entry = _table(value, f"A part of {name}")
    shapes = tuple(_shape(shape, name) for shape in _list(entry.get("shapes"), f"the shapes of {name}", MAX_SHAPES))
    if not shapes:
        raise VDTError(f"A part of {name} has no shape.")
    return Part(
        shapes,
        _point(entry.get("position"), f"the position of {name}"),
        _number(entry.get("angle", 0.0), f"the angle of {name}", -1000, 1000),
        _point(entry.get("velocity", [0, 0]), f"the velocity of {name}", 100),
        _number(entry.get("spin", 0.0), f"the spin of {name}", -FASTEST_SPIN, FASTEST_SPIN),
    )


def _shape(value: Any, name: str) -> Shape:
    entry = _table(value, f"A shape of {name}")
    kind = entry.get("kind")
    if kind == "ball":
        return Circle(_number(entry.get("radius"), f"the radius of {name}", 0.1, 5))
    if kind == "capsule":
        start, end = (_point(entry.get(key), f"the ends of {name}") for key in ("start", "end"))
        if math.dist(start, end) < 1e-3:
            raise VDTError(f"The ends of {name} are one point.")
        return Capsule(start, end, _number(entry.get("radius"), f"the radius of {name}", 0.05, 5))
    if isinstance(kind, str) and len(kind) <= 20 and "vertices" in entry:
        corners = tuple(
            _point(c, f"a corner of {name}") for c in _list(entry.get("vertices"), "vertices", MAX_VERTICES)
        )
        shape = Polygon(corners, kind)
        if len(corners) < 3 or shape.area < 0.02 or not _convex(corners):
            raise VDTError(f"The corners of {name} are no convex polygon, counter-clockwise.")
        return shape
    raise VDTError(f"A shape of {name} is a ball, a polygon or a capsule, not {str(kind)[:20]!r}.")


def _write_shape(shape: Shape) -> dict[str, Any]:
    return shape.describe()


def _convex(corners: tuple[tuple[float, float], ...]) -> bool:
    """Whether corners are apart from each other and turn to the left, once around (a star does so twice)."""
    count, turned = len(corners), 0.0
    for i in range(count):
        (ax, ay), (bx, by), (cx, cy) = corners[i], corners[(i + 1) % count], corners[(i + 2) % count]
        across = (bx - ax) * (cy - by) - (by - ay) * (cx - bx)
        if across < -1e-9 or math.dist((ax, ay), (bx, by)) < 1e-3:
            return False
        turned += math.atan2(across, (bx - ax) * (cx - bx) + (by - ay) * (cy - by))
    return turned < 3 * math.pi


def _joint(value: Any, bodies: tuple[Body, ...]) -> Joint:
    entry = _table(value, "A joint")
    sizes = {body.name: len(body.parts) for body in bodies}

    def end(pair: Any) -> tuple[str, int]:
        both = _list(pair, "a joint", 2)
        there = len(both) == 2 and isinstance(both[0], str) and both[0] in sizes and type(both[1]) is int
        if not there or not 0 <= both[1] < sizes[both[0]]:
            raise VDTError("A joint holds a part that is not there.")
        return both[0], both[1]

    second = entry.get("second")
    return Joint(
        end(entry.get("first")), None if second is None else end(second), _point(entry.get("point"), "a joint")
    )


def _table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise VDTError(f"{what} is not an object of names and values.")
    return value


def _list(value: Any, what: str, most: int) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise VDTError(f"In the scene, {what} is not a list.")
    if len(value) > most:
        raise VDTError(f"In the scene, {what} has {len(value)} entries; at most {most}.")
    return list(value)


def _point(value: Any, what: str, most: float = 4 * WORLD) -> tuple[float, float]:
    both = _list(value, what, 2)
    if len(both) != 2:
        raise VDTError(f"In the scene, {what} is not a pair of numbers.")
    return _number(both[0], what, -most, most), _number(both[1], what, -most, most)


def _number(value: Any, what: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise VDTError(f"In the scene, {what} is a number from {low:g} to {high:g}, not {str(value)[:20]}.")
    return float(value)
