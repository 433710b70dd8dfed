"""Uniform motion: one ball, no forces, along the horizontal. After PhyWorld; `physics_sim.worlds` has the ranges."""

from physics_sim.draw import Draw
from physics_sim.scenarios import Law
from physics_sim.scenarios.laws import across, ball, in_sight, mirrors, radius_and_speed
from physics_sim.scene import Scene
from physics_sim.units import WORLD


def scene(draw: Draw) -> Scene:
    radius, speed = radius_and_speed(draw, draw.profile.radius)
    start = across(draw, radius, speed)
    rim = draw.profile.rim
    y = draw.uniform(radius + rim, WORLD - radius - rim)
    velocity = (speed, 0.0)
    if mirrors(draw):
        start, velocity = WORLD - start, (-speed, 0.0)
    return Scene((ball(radius, (start, y)).moving(velocity),), gravity=0.0, background=draw.background())


PLACE = 1
make = Law(scene, in_sight)
