"""Frames and masks from states, by signed distance; the only module that knows pixels.

A shape covers a pixel by `clip(1/2 - d)`, d the signed distance in pixels from the pixel's centre to the outline: exact
for a straight edge along the grid, within a few percent elsewhere. Each shape is drawn in a window around it, for all
frames at once.
"""

import math
from collections.abc import Iterator

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


def draw(scene: Scene, position: np.ndarray, angle: np.ndarray, size: int) -> np.ndarray:
    """Frames (T, size, size, 3) uint8 of parts at `position` (T, P, 2) metres and `angle` (T, P)."""
    size = check_size(size)
    frames = len(position)
    # Four bytes a pixel, the last unused, so that a pixel can be moved as one 32-bit number.
    canvas = np.empty((1, size, size, 4), np.uint8)
    canvas[:] = (*scene.background, 255)
    layers = list(_layers(scene))
    for body, part, shape in layers:
        if body.fixed:
            _paint(canvas, shape, position[:1, part], angle[:1, part], body.colour, None)
    canvas = np.repeat(canvas, frames, axis=0)
    for body, part, shape in layers:
        if not body.fixed:
            dark = tuple(round(MARK * value) for value in body.colour)
            mark = dark if isinstance(shape, Circle) and len(body.parts) == 1 else None
            _paint(canvas, shape, position[:, part], angle[:, part], body.colour, mark)
    return np.ascontiguousarray(canvas[..., :3])


def label(scene: Scene, position: np.ndarray, angle: np.ndarray, size: int) -> np.ndarray:
    """Instance maps (T, size, size) uint8: 1 + the body's place in the scene where it covers half the pixel, else 0."""
    size = check_size(size)
    canvas = np.zeros((len(position), size, size, 1), np.uint8)
    numbers = {body.name: i + 1 for i, body in enumerate(scene.bodies)}
    for body, part, shape in _layers(scene):
        rows, columns, covered, _ = _cover(shape, position[:, part], angle[:, part], size)
        if rows is not None:
            where = (np.arange(len(position))[:, None, None], rows[:, :, None], columns[:, None, :], 0)
            canvas[where] = np.where(covered >= 0.5, numbers[body.name], canvas[where])
    return canvas[..., 0]


def _layers(scene: Scene) -> Iterator[tuple[Body, int, Shape]]:
    """(body, part number, shape) from back to front."""
    first = 0
    rows = []
    for body in scene.bodies:
        rows.append((ORDER[body.role] if not body.fixed or body.role == "patient" else 0, first, body))
        first += len(body.parts)
    for _, first, body in sorted(rows, key=lambda row: row[:2]):
        for offset, part in enumerate(body.parts):
            for shape in part.shapes:
                yield body, first + offset, shape


def _paint(
    canvas: np.ndarray,
    shape: Shape,
    position: np.ndarray,
    angle: np.ndarray,
    colour: tuple[int, ...],
    mark: tuple[int, ...] | None,
) -> None:
    """Blends one shape into every frame of `canvas` (T, H, W, 4)."""
    size = canvas.shape[1]
    rows, columns, covered, local = _cover(shape, position, angle, size)
    if rows is None:
        return
    pixels = canvas.view(np.uint32).reshape(-1)
    first = (np.arange(len(position)) * size)[:, None] + rows
    where = (first * size)[:, :, None] + columns[:, None, :]
    under = pixels[where].view(np.uint8).reshape(*where.shape, 4).astype(np.float32)
    ink: np.ndarray = np.asarray((*colour, 255), np.float32)
    if mark is not None and isinstance(shape, Circle):
        stripe = Capsule((-0.62 * shape.radius, 0.0), (0.62 * shape.radius, 0.0), 0.15 * shape.radius)
        share = np.clip(0.5 - size / WORLD * distance(stripe, *local), 0, 1)[..., None]
        ink = ink + share * (np.asarray((*mark, 255), np.float32) - ink)
    under += covered[..., None] * (ink - under)
    under += 0.5
    pixels[where] = under.astype(np.uint8).view(np.uint32)[..., 0]


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
