"""Frames and masks from states, by signed distance; the only module that knows pixels.

A shape covers a pixel by `clip(1/2 - d)`, d the signed distance in pixels from the pixel's centre to the outline: exact
for a straight edge along the grid, within a few percent elsewhere. Each shape is drawn in a window around it, for all
frames at once.
"""

import math

import numpy as np

from physics_sim.errors import SimulationError
from physics_sim.scene import Body, Scene
from physics_sim.shapes import Capsule, Circle, Shape, distance
from physics_sim.units import WORLD

SIZES = (8, 2048)
MARK = 0.68
"""Brightness of the stripe on a ball."""
ORDER = {"static": 0, "distractor": 1, "patient": 2, "agent": 3}


def check_size(size: int) -> int:
    """Returns the side of a picture; raises SimulationError unless it is a whole number in SIZES."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not SIZES[0] <= size <= SIZES[1]:
        raise SimulationError(f"A resolution must be a whole number from {SIZES[0]} to {SIZES[1]}, not {size!r}.")
    return int(size)


def to_pixels(position: np.ndarray, size: int) -> np.ndarray:
    """World positions (..., 2) in metres as pixel coordinates: x right, y down, pixel centres at halves."""
    scale = size / WORLD
    return np.stack([position[..., 0] * scale, size - position[..., 1] * scale], axis=-1)


def draw(scene: Scene, position: np.ndarray, angle: np.ndarray, size: int, *, marks: bool = True) -> np.ndarray:
    """Frames (T, size, size, 3) uint8 of parts at `position` (T, P, 2) metres and `angle` (T, P).

    marks: whether moving balls have a darker stripe, which shows that they turn.
    """
    size = check_size(size)
    frames = len(position)
    # Colour planes are outermost while drawing, for long inner loops, and innermost in what is returned.
    canvas = np.empty((3, 1, size, size), np.uint8)
    canvas[:] = np.reshape(scene.background, (3, 1, 1, 1))
    ordered = _ordered(scene)
    for body, first in ordered:
        if body.fixed:
            _paint_body(canvas, body, position[:1, first:], angle[:1, first:], marks)
    canvas = np.repeat(canvas, frames, axis=1)
    for body, first in ordered:
        if not body.fixed:
            _paint_body(canvas, body, position[:, first:], angle[:, first:], marks)
    out = np.empty((frames, size, size, 3), np.uint8)
    for channel in range(3):
        out[..., channel] = canvas[channel]
    return out


def label(scene: Scene, position: np.ndarray, angle: np.ndarray, size: int) -> np.ndarray:
    """Instance maps (T, size, size) uint8: 1 + the body's place in the scene where it covers half the pixel, else 0."""
    size = check_size(size)
    canvas = np.zeros((len(position), size, size), np.uint8)
    numbers = {body.name: i + 1 for i, body in enumerate(scene.bodies)}
    for body, first in _ordered(scene):
        veil = _veil(body, position[:, first:], angle[:, first:], size)
        canvas[veil >= 0.5] = numbers[body.name]
    return canvas


def _ordered(scene: Scene) -> list[tuple[Body, int]]:
    """Bodies from back to front, each with the number of its first part."""
    firsts = np.cumsum([0, *(len(body.parts) for body in scene.bodies)]).tolist()
    rows = list(zip(scene.bodies, firsts, strict=False))
    return sorted(rows, key=lambda row: (not row[0].fixed, ORDER[row[0].role], row[1]))


def _paint_body(canvas: np.ndarray, body: Body, position: np.ndarray, angle: np.ndarray, marks: bool) -> None:
    """Draws a body into every frame of `canvas` (3, T, H, W); its parts are the first of `position` and `angle`."""
    shapes = [shape for part in body.parts for shape in part.shapes]
    if len(shapes) == 1:
        mark = None
        if marks and isinstance(shapes[0], Circle) and not body.fixed:
            mark = tuple(round(MARK * value) for value in body.colour)
        _paint(canvas, shapes[0], position[:, 0], angle[:, 0], body.colour, mark)
        return
    # Several pieces of one colour are drawn as one, without seams where they overlap.
    veil = _veil(body, position, angle, canvas.shape[2])
    seen = np.max(veil, axis=0) > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return
    box = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    for channel, value in enumerate(body.colour):
        under = canvas[channel][box].astype(np.float32)
        under += veil[box] * (np.float32(value) - under)
        under += 0.5
        canvas[channel][box] = under.astype(np.uint8)


def _veil(body: Body, position: np.ndarray, angle: np.ndarray, size: int) -> np.ndarray:
    """How much of each pixel a body covers: (T, size, size) float32, from 0 to 1."""
    frames = len(position)
    veil = np.zeros((frames, size, size), np.float32)
    flat = veil.reshape(-1)
    for shape, parts in _alike(body):
        places = position[:, parts].transpose(1, 0, 2).reshape(-1, 2)
        rows, columns, covered, _ = _cover(shape, places, angle[:, parts].T.reshape(-1), size)
        if rows is None:
            continue
        first = (np.tile(np.arange(frames), len(parts)) * size)[:, None] + rows
        where = (first * size)[:, :, None] + columns[:, None, :]
        for start in range(0, len(places), frames):
            here = where[start : start + frames]
            flat[here] = np.maximum(flat[here], covered[start : start + frames])
    return veil


def _alike(body: Body) -> list[tuple[Shape, list[int]]]:
    """The different shapes of a body, each with the parts that have it."""
    found: dict[Shape, list[int]] = {}
    for number, part in enumerate(body.parts):
        for shape in part.shapes:
            found.setdefault(shape, []).append(number)
    return list(found.items())


def _paint(
    canvas: np.ndarray,
    shape: Shape,
    position: np.ndarray,
    angle: np.ndarray,
    colour: tuple[int, ...],
    mark: tuple[int, ...] | None,
) -> None:
    """Blends one shape into every frame of `canvas` (3, T, H, W)."""
    size = canvas.shape[2]
    rows, columns, covered, local = _cover(shape, position, angle, size)
    if rows is None:
        return
    first = (np.arange(len(position)) * size)[:, None] + rows
    where = (first * size)[:, :, None] + columns[:, None, :]
    share = None
    if mark is not None and isinstance(shape, Circle):
        stripe = Capsule((-0.62 * shape.radius, 0.0), (0.62 * shape.radius, 0.0), 0.15 * shape.radius)
        share = np.clip(0.5 - size / WORLD * distance(stripe, *local), 0, 1)
    for channel, value in enumerate(colour):
        plane = canvas[channel].reshape(-1)
        under = plane[where].astype(np.float32)
        ink: np.ndarray | float = float(value)
        if mark is not None and share is not None:
            ink = share * np.float32(mark[channel] - value) + np.float32(value)
        under += covered * (ink - under)
        under += 0.5
        plane[where] = under.astype(np.uint8)


def _cover(shape: Shape, position: np.ndarray, angle: np.ndarray, size: int) -> tuple:
    """The window around a shape in each frame: rows (T, h), columns (T, w), coverage (T, h, w), local x and y.

    Windows are moved inside the picture, which loses nothing: they are as large as the shape or as the picture.
    Rows are None if the shape is nowhere in sight.
    """
    scale = size / WORLD
    centre = to_pixels(position, size)
    reach = shape.reach * scale + 1
    if not (np.abs(centre - size / 2) < size / 2 + reach).all(axis=1).any():
        return None, None, None, None
    side = min(2 * math.ceil(reach) + 1, size)
    corner = np.clip(np.floor(centre - side / 2 + 0.5).astype(int), 0, size - side)
    steps = np.arange(side)
    columns = corner[:, 0, None] + steps
    rows = corner[:, 1, None] + steps
    x = ((columns + 0.5 - centre[:, 0, None]) / scale).astype(np.float32)[:, None, :]
    y = ((centre[:, 1, None] - rows - 0.5) / scale).astype(np.float32)[:, :, None]
    s = np.sin(angle).astype(np.float32)[:, None, None]
    c = np.cos(angle).astype(np.float32)[:, None, None]
    local = c * x + s * y, c * y - s * x
    return rows, columns, np.clip(0.5 - scale * distance(shape, *local), 0, 1), local
