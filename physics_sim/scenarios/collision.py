"""Collision: two balls head on, elastic, no gravity, mass r^2; they meet after the given frames. As in PhyWorld."""

import math

from physics_sim.draw import Draw
from physics_sim.scenarios import Law
from physics_sim.scenarios.laws import DENSITY, RADIUS, SPEED, ball, in_sight, radius_and_speed
from physics_sim.scene import Scene, patient
from physics_sim.shapes import Circle
from physics_sim.units import FRAME_TIME, GIVEN, WORLD
from physics_sim.world import Trajectory

MEETING = (7.3, 12.5)
"""Frames after the first."""


def scene(draw: Draw) -> Scene:
    room = -1.0
    while room < 0:
        radius, speed = radius_and_speed(draw)
        other, towards = draw.size(RADIUS), draw.speed(SPEED)
        gap = (speed + towards) * FRAME_TIME * draw.uniform(*MEETING)
        room = WORLD - 2 * radius - 2 * other - gap
    start = radius + draw.uniform(0.0, room)
    y = draw.uniform(max(radius, other), WORLD - max(radius, other))
    left = start, y
    right = start + radius + gap + other, y
    sign = 1.0
    if draw.chance(0.5):
        left, right, sign = (WORLD - left[0], y), (WORLD - right[0], y), -1.0
    target = patient(Circle(other), right, elasticity=1.0, friction=0.0, density=float(DENSITY))
    return Scene(
        (target.moving((-sign * towards, 0.0)), ball(radius, left).moving((sign * speed, 0.0))),
        gravity=0.0,
        background=draw.background(),
    )


def fault(scene: Scene, trajectory: Trajectory) -> str | None:
    if math.isnan(trajectory.touch) or trajectory.touch <= GIVEN - 1:
        return "the balls do not meet after the given frames"
    return in_sight(scene, trajectory)


make = Law(scene, fault)
