"""Clips a second on one core, beside a plain loop of pymunk and Pillow that makes the same clips."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from physics_sim import LAWS, SCENARIOS
from physics_sim.clip import Clip
from physics_sim.sampling import make_clip
from physics_sim.scene import Scene
from physics_sim.shapes import Capsule, Circle, Polygon
from physics_sim.units import FRAME_TIME, FRAMES, SUBSTEPS, WORLD
from physics_sim.world import SLOP

SUPERSAMPLING = 4
"""The plain loop draws this much larger and averages, to be as smooth as ours."""


def measure(seconds: float = 30.0, *, size: int = 64, split: str = "train", seed: int = 0) -> dict[str, Any]:
    """Times every scenario and law for about `seconds` in all, alternating with the plain loop.

    Returns {"size", "substeps", "scenarios": {name: row}, "laws": {name: row}, "scenarios_mean": row,
    "laws_mean": row}; a row has
    clips_per_second (sampling, rejected tries, simulation, labels, drawing, by the processor's clock),
    wall_clips_per_second, plain_clips_per_second (simulation and smooth drawing of the accepted clips only),
    plain_rough_clips_per_second (the same, not anti-aliased), ratio (ours to plain), clips. A mean is of the times.
    """
    import pymunk  # noqa: F401 (imported before the clock starts)
    from PIL import Image, ImageDraw  # noqa: F401

    names = (*SCENARIOS, *LAWS)
    rows = {name: _Row() for name in names}
    for name in names:
        _ = make_clip(name, split, 0, seed=seed, size=size).frames
    end = time.perf_counter() + seconds
    turn = 0
    while turn == 0 or time.perf_counter() < end:
        for name in names:
            rows[name].take(name, split, seed, size, turn)
        turn += 1
    result: dict[str, Any] = {"size": size, "substeps": SUBSTEPS, "split": split}
    for key, group in (("scenarios", SCENARIOS), ("laws", LAWS)):
        result[key] = {name: rows[name].rates() for name in group}
        result[f"{key}_mean"] = sum((rows[name] for name in group), _Row()).rates()
    return result


class _Row:
    """Seconds spent and clips made."""

    def __init__(self) -> None:
        self.ours = self.wall = self.plain = self.rough = 0.0
        self.clips = self.plain_clips = 0

    def __add__(self, other: "_Row") -> "_Row":
        """Of two rows, as if a clip of each were made in turn."""
        both = _Row()
        for name in ("ours", "wall"):
            setattr(both, name, getattr(self, name) + getattr(other, name) / other.clips)
        for name in ("plain", "rough"):
            setattr(both, name, getattr(self, name) + getattr(other, name) / other.plain_clips)
        both.clips = both.plain_clips = self.clips + 1
        return both

    def take(self, name: str, split: str, seed: int, size: int, turn: int) -> None:
        """Four new clips of ours, then the plain loop on two of them."""
        first = 1000 + 4 * turn
        wall, start = time.perf_counter(), time.process_time()
        clips = [make_clip(name, split, index, seed=seed, size=size) for index in range(first, first + 4)]
        for clip in clips:
            _ = clip.frames
        self.ours += time.process_time() - start
        self.wall += time.perf_counter() - wall
        self.clips += 4
        for clip in clips[:2]:
            self.plain += _timed(lambda clip=clip: plain_clip(clip, SUPERSAMPLING))  # type: ignore[misc]
            self.rough += _timed(lambda clip=clip: plain_clip(clip, 1))  # type: ignore[misc]
        self.plain_clips += 2

    def rates(self) -> dict[str, float | int]:
        ours, plain = self.clips / self.ours, self.plain_clips / self.plain
        return {
            "clips_per_second": round(ours, 1),
            "wall_clips_per_second": round(self.clips / self.wall, 1),
            "plain_clips_per_second": round(plain, 1),
            "plain_rough_clips_per_second": round(self.plain_clips / self.rough, 1),
            "ratio": round(ours / plain, 2),
            "clips": self.clips,
        }


def _timed(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def plain_clip(clip: Clip, supersampling: int) -> np.ndarray:
    """The clip as one would write it at first: pymunk stepped evenly, each frame drawn by Pillow. (16, H, W, 3)."""
    import pymunk

    scene = clip.scene
    space = pymunk.Space()
    space.gravity = (0.0, -scene.gravity)
    space.collision_slop = SLOP
    touches = []
    space.on_collision(None, None, begin=lambda arbiter, space, data: touches.append(arbiter.shapes))
    drawn: list[tuple[Any, Any, Any]] = []
    made = {}
    for number, body in enumerate(scene.bodies):
        for offset, part in enumerate(body.parts):
            if body.fixed:
                holder = pymunk.Body(body_type=pymunk.Body.STATIC)
            else:
                moment = sum(shape.moment(body.density * shape.area) for shape in part.shapes)
                holder = pymunk.Body(body.density * part.area, moment)
                holder.velocity, holder.angular_velocity = part.velocity, part.angular_velocity
            holder.position, holder.angle = part.position, part.angle
            space.add(holder)
            made[body.name, offset] = holder
            for shape in part.shapes:
                if isinstance(shape, Circle):
                    solid: Any = pymunk.Circle(holder, shape.radius)
                elif isinstance(shape, Polygon):
                    solid = pymunk.Poly(holder, shape.vertices)
                else:
                    solid = pymunk.Segment(holder, shape.start, shape.end, shape.radius)
                solid.elasticity, solid.friction = body.elasticity, body.friction
                solid.filter = pymunk.ShapeFilter(group=body.group or number + 1000)
                space.add(solid)
                drawn.append((holder, shape, body.colour))
    for joint in scene.joints:
        other = space.static_body if joint.second is None else made[joint.second]
        space.add(pymunk.PivotJoint(made[joint.first], other, joint.point))
    frames = []
    for frame in range(FRAMES):
        if frame:
            for _ in range(SUBSTEPS):
                space.step(FRAME_TIME / SUBSTEPS)
        frames.append(_plain_frame(scene, drawn, clip.size, supersampling))
    return np.stack(frames)


def _plain_frame(scene: Scene, drawn: list[tuple[Any, Any, Any]], size: int, supersampling: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    side = size * supersampling
    scale = side / WORLD
    image = Image.new("RGB", (side, side), scene.background)
    pen = ImageDraw.Draw(image)

    def at(holder: Any, point: tuple[float, float]) -> tuple[float, float]:
        x, y = holder.local_to_world(point)
        return x * scale, side - y * scale

    for holder, shape, colour in drawn:
        if isinstance(shape, Polygon):
            pen.polygon([at(holder, vertex) for vertex in shape.vertices], fill=colour)
            continue
        radius = shape.radius * scale
        ends = [at(holder, (0.0, 0.0))]
        if isinstance(shape, Capsule):
            ends = [at(holder, shape.start), at(holder, shape.end)]
            pen.line(ends, fill=colour, width=max(1, round(2 * radius)))
        for x, y in ends:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        if isinstance(shape, Circle):
            reach = 0.62 * shape.radius
            pen.line(
                [at(holder, (-reach, 0.0)), at(holder, (reach, 0.0))],
                fill=tuple(math.floor(0.68 * value) for value in colour),
                width=max(1, round(0.3 * radius)),
            )
    if supersampling > 1:
        image = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)
