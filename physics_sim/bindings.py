"""How shapes and spaces are handed to pymunk, and what `world` knows of fixed shapes."""

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from physics_sim.scene import Part
from physics_sim.shapes import Circle, Polygon, Shape

_LOCAL = threading.local()


def new_buffer() -> Any:
    """One buffer a thread, for all runs: pymunk never gives a buffer's memory back."""
    if not hasattr(_LOCAL, "buffer"):
        from pymunk import batch

        _LOCAL.buffer = batch.Buffer()
    return _LOCAL.buffer


def stepper(space: Any) -> Callable[[float], Any]:
    """`space.step` without its bookkeeping of things added and removed during a step, which never happens here."""
    try:
        from pymunk._chipmunk_cffi import lib

        return partial(lib.cpSpaceStep, space._space)
    except (ImportError, AttributeError):
        return space.step


def outward_planes(shape: Shape, part: Part) -> tuple[list[tuple[float, float, float]] | None, Any, float]:
    """Of a fixed shape: outward planes (nx, ny, offset) in the world, or None with a centre and radius around it."""
    if not isinstance(shape, Polygon):
        return None, part.position, shape.reach
    points = [placed(part, vertex) for vertex in shape.vertices]
    planes = []
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
        length = math.dist((ax, ay), (bx, by))
        nx, ny = (by - ay) / length, (ax - bx) / length
        planes.append((nx, ny, nx * ax + ny * ay))
    return planes, None, 0.0


def placed(part: Part, point: tuple[float, float]) -> tuple[float, float]:
    s, c = math.sin(part.angle), math.cos(part.angle)
    return part.position[0] + c * point[0] - s * point[1], part.position[1] + s * point[0] + c * point[1]


def to_pymunk(pymunk: Any, holder: Any, shape: Shape, part: Part | None) -> Any:
    """A pymunk shape on `holder`; `part` places the shape of a fixed part on the static body."""

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return point if part is None else placed(part, point)

    if isinstance(shape, Circle):
        return pymunk.Circle(holder, shape.radius, at((0.0, 0.0)))
    if isinstance(shape, Polygon):
        return pymunk.Poly(holder, [at(vertex) for vertex in shape.vertices])
    return pymunk.Segment(holder, at(shape.start), at(shape.end), shape.radius)
