"""Uniform motion: one ball, no forces, horizontal. In and out of distribution as in PhyWorld."""

from physics_sim.draw import Draw
from physics_sim.scenarios import Law
from physics_sim.scenarios.laws import SECONDS, ball, in_sight, radius_and_speed
from physics_sim.scene import Scene
from physics_sim.units import WORLD


def scene(draw: Draw) -> Scene:
    radius, speed = radius_and_speed(draw)
    way = speed * SECONDS
    start = draw.uniform(radius, max(radius, WORLD - radius - way))
    y = draw.uniform(radius, WORLD - radius)
    velocity = (speed, 0.0)
    if draw.chance(0.5):
        start, velocity = WORLD - start, (-speed, 0.0)
    return Scene((ball(radius, (start, y)).moving(velocity),), gravity=0.0, background=draw.background())


make = Law(scene, in_sight)
