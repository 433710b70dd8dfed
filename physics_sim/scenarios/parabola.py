"""Parabola: one ball is thrown and flies as gravity bids. After PhyWorld; `physics_sim.worlds` has the ranges."""

from physics_sim.draw import Draw
from physics_sim.names import LAW_SPLITS
from physics_sim.scenarios import Law
from physics_sim.scenarios.laws import across, ball, in_sight, mirrors, radius_and_speed
from physics_sim.scene import Scene
from physics_sim.units import WORLD


def scene(draw: Draw) -> Scene:
    profile = draw.profile
    gravity = draw.gravity(profile.law_gravity)
    if profile.weightless and draw.split != "ood_gravity" and draw.chance(profile.weightless):
        gravity = 0.0
    radius, speed = radius_and_speed(draw, profile.radius)
    start = across(draw, radius, speed)
    lowest = radius + gravity * draw.seconds**2 / 2
    highest = WORLD - radius
    if profile.leaves:
        lowest = radius
    if profile.rim:
        highest -= profile.rim
        lowest = highest - 1.0
    y = draw.uniform(lowest, highest)
    lift = -gravity * profile.phase
    if profile.lift.high > profile.lift.low:
        lift += draw.speed(profile.lift)
    if mirrors(draw):
        start, speed = WORLD - start, -speed
    flying = ball(radius, (start, y)).moving((speed, lift))
    return Scene((flying,), gravity=gravity, background=draw.background())


PLACE = 2
make = Law(scene, in_sight, splits=(*LAW_SPLITS, "ood_gravity"))
