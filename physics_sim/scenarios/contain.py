"""Contain: the agent and a distractor fall into or beside a cup that holds the patient.

Seen at first: the cup, sizes, where they fall from. Not seen: velocities and spins, materials.
"""

import math

from physics_sim import shapes
from physics_sim.draw import Draw
from physics_sim.scenarios import Scenario
from physics_sim.scenarios.common import ground, materials, stand
from physics_sim.scene import Scene, agent, fixture, patient, thing
from physics_sim.worlds import Range

SIZE = Range(0.55, 0.8, below=(0.38, 0.48), above=(0.88, 1.0))
SPEED = Range(1.2, 2.8, above=(3.1, 4.2))
"""Downwards."""
ACROSS = (-1.8, 1.8)
SPIN = (-3.0, 3.0)
WALL = 0.16


def layout(draw: Draw) -> Scene:
    floor = draw.uniform(0.7, 1.1)
    colour = draw.static_colour()
    mover, target = draw.kinds()
    body, goal = shapes.of_kind(mover, draw.size(SIZE)), shapes.of_kind(target, draw.size(SIZE))
    half = max(draw.uniform(1.2, 1.7), goal.reach + 0.35)
    height, lean = draw.uniform(1.3, 2.0), draw.uniform(0.1, 0.35)
    x = draw.uniform(3.6, 6.4)
    rim = half + height * math.tan(lean)
    cup = (
        shapes.Capsule((-half, 0.0), (half, 0.0), WALL),
        shapes.Capsule((-half, 0.0), (-rim, height), WALL),
        shapes.Capsule((half, 0.0), (rim, height), WALL),
    )
    base = floor + WALL
    spare = half - goal.reach
    place = x + draw.uniform(-spare, spare), stand(goal, base + WALL)
    side = draw.sign()
    start = x + side * draw.uniform(0.2, 2.2), draw.uniform(6.6, 8.4)
    things = [
        ground(floor, colour),
        fixture("cup", cup, (x, base), draw.static_colour()),
        patient(goal, place),
        agent(body, start),
    ]
    if draw.chance(0.6):
        other = shapes.of_kind(draw.choice(("ball", "box", "hexagon")), draw.uniform(0.5, 0.7))
        apart = body.reach + other.reach + draw.uniform(0.3, 1.2)
        far = start[0] - side * apart
        if 0.8 < far < 9.2:
            things.append(thing("other", other, (far, draw.uniform(6.0, 8.4)), draw.colour()))
    return Scene(tuple(things), background=draw.background())


def launch(scene: Scene, draw: Draw) -> Scene:
    scene = materials(scene, draw)
    for body in scene.bodies:
        if body.name in ("agent", "other"):
            velocity = draw.uniform(*ACROSS), -draw.speed(SPEED)
            scene = scene.swap(body.moving(velocity, draw.uniform(*SPIN)))
    return scene


PLACE = 4
make = Scenario(layout, launch)
