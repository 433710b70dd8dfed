"""Shapes of rigid parts, in the part's own coordinates (metres, y up, origin at the centre of mass)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Circle:
    radius: float

    @property
    def area(self) -> float:
        return math.pi * self.radius**2

    @property
    def reach(self) -> float:
        """Distance from the origin to the farthest point."""
        return self.radius

    def moment(self, mass: float) -> float:
        return 0.5 * mass * self.radius**2

    def below(self, angle: float = 0.0) -> float:
        """How far the shape, turned by `angle`, reaches below its origin."""
        return self.radius

    def describe(self) -> dict[str, Any]:
        return {"kind": "ball", "radius": self.radius}


@dataclass(frozen=True)
class Polygon:
    """Convex; vertices counter-clockwise."""

    vertices: tuple[Point, ...]
    kind: str = "polygon"

    @property
    def area(self) -> float:
        return 0.5 * sum(x * v - u * y for (x, y), (u, v) in self._edges())

    @property
    def reach(self) -> float:
        return max(math.hypot(x, y) for x, y in self.vertices)

    def moment(self, mass: float) -> float:
        """About the origin."""
        top = bottom = 0.0
        for (x, y), (u, v) in self._edges():
            cross = x * v - u * y
            top += cross * (x * x + x * u + u * u + y * y + y * v + v * v)
            bottom += cross
        return mass * top / (6 * bottom)

    def below(self, angle: float = 0.0) -> float:
        return -min(math.sin(angle) * x + math.cos(angle) * y for x, y in self.vertices)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "vertices": [list(point) for point in self.vertices]}

    def _edges(self) -> list[tuple[Point, Point]]:
        return list(zip(self.vertices, self.vertices[1:] + self.vertices[:1], strict=True))


@dataclass(frozen=True)
class Capsule:
    """A segment from `start` to `end`, thickened by `radius`."""

    start: Point
    end: Point
    radius: float

    @property
    def length(self) -> float:
        return math.dist(self.start, self.end)

    @property
    def area(self) -> float:
        return math.pi * self.radius**2 + 2 * self.radius * self.length

    @property
    def reach(self) -> float:
        return max(math.hypot(*self.start), math.hypot(*self.end)) + self.radius

    def moment(self, mass: float) -> float:
        """Of a capsule with its centre at the origin, about it."""
        middle = 2 * self.radius * self.length / self.area * mass
        ends = mass - middle
        half = 0.5 * self.length
        # The half discs' centres of mass are 4 r / 3 pi beyond the ends of the segment.
        offset = 4 * self.radius / (3 * math.pi)
        cap = 0.5 * self.radius**2 - offset**2 + (half + offset) ** 2
        return middle * (self.length**2 + 4 * self.radius**2) / 12 + ends * cap

    def below(self, angle: float = 0.0) -> float:
        s, c = math.sin(angle), math.cos(angle)
        return self.radius - min(s * x + c * y for x, y in (self.start, self.end))

    def describe(self) -> dict[str, Any]:
        return {"kind": "capsule", "start": list(self.start), "end": list(self.end), "radius": self.radius}


Shape = Circle | Polygon | Capsule

KINDS = ("ball", "box", "triangle", "hexagon", "capsule")


def box(width: float, height: float) -> Polygon:
    x, y = width / 2, height / 2
    return Polygon(((-x, -y), (x, -y), (x, y), (-x, y)), "box")


def regular(sides: int, radius: float, kind: str) -> Polygon:
    """A regular polygon of circumradius `radius` that stands on a side."""
    start = -math.pi / 2 - math.pi / sides
    angles = [start + 2 * math.pi * k / sides for k in range(sides)]
    return Polygon(tuple((radius * math.cos(a), radius * math.sin(a)) for a in angles), kind)


def of_kind(kind: str, size: float) -> Shape:
    """The shape of one of KINDS whose area is that of a ball of radius `size`."""
    if kind == "ball":
        return Circle(size)
    if kind == "box":
        return box(math.sqrt(math.pi) * size, math.sqrt(math.pi) * size)
    if kind == "triangle":
        return regular(3, size * math.sqrt(math.pi / (0.75 * math.sqrt(3))), kind)
    if kind == "hexagon":
        return regular(6, size * math.sqrt(math.pi / (1.5 * math.sqrt(3))), kind)
    radius = size * math.sqrt(math.pi / (math.pi + 3.2))
    return Capsule((-0.8 * radius, 0.0), (0.8 * radius, 0.0), radius)


def outline(shape: Shape, count: int = 24) -> np.ndarray:
    """(K, 2) points on the outline, K about `count`."""
    if isinstance(shape, Polygon):
        share = np.linspace(0, 1, max(2, count // len(shape.vertices)), endpoint=False)[:, None]
        ends = shape.vertices[1:] + shape.vertices[:1]
        sides = [np.add(a, share * np.subtract(b, a)) for a, b in zip(shape.vertices, ends, strict=True)]
        return np.concatenate(sides)
    if isinstance(shape, Circle):
        turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
        return shape.radius * np.column_stack([np.cos(turn), np.sin(turn)])
    along = math.atan2(shape.end[1] - shape.start[1], shape.end[0] - shape.start[0])
    turn = along + np.linspace(-np.pi / 2, np.pi / 2, max(3, count // 3))
    cap = shape.radius * np.column_stack([np.cos(turn), np.sin(turn)])
    share = np.linspace(0, 1, max(2, count // 6), endpoint=False)[:, None]
    sides = [
        np.add(a, share * np.subtract(b, a)) + side
        for a, b, side in ((shape.end, shape.start, cap[-1]), (shape.start, shape.end, cap[0]))
    ]
    return np.concatenate([np.add(shape.end, cap), sides[0], np.subtract(shape.start, cap), sides[1]])


def distance(shape: Shape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance in metres from points to a shape's outline, negative inside (for polygons outside, a bound)."""
    if isinstance(shape, Circle):
        return np.sqrt(x * x + y * y) - np.float32(shape.radius)
    if isinstance(shape, Polygon):
        worst = None
        for (ax, ay), (bx, by) in zip(shape.vertices, shape.vertices[1:] + shape.vertices[:1], strict=True):
            length = math.hypot(bx - ax, by - ay)
            nx, ny = (by - ay) / length, (ax - bx) / length
            plane = np.float32(nx) * x + np.float32(ny) * y - np.float32(nx * ax + ny * ay)
            worst = plane if worst is None else np.maximum(worst, plane)
        assert worst is not None
        return worst
    (ax, ay), (bx, by) = shape.start, shape.end
    dx, dy = np.float32(bx - ax), np.float32(by - ay)
    u, v = x - np.float32(ax), y - np.float32(ay)
    along = np.clip((u * dx + v * dy) / (dx * dx + dy * dy), 0, 1)
    u -= along * dx
    v -= along * dy
    return np.sqrt(u * u + v * v) - np.float32(shape.radius)
