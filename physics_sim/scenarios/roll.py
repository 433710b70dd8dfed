"""Roll: the agent rolls or slides off a ledge and down a ramp, towards the patient on the floor.

Seen at first: ramp, sizes, distances, sometimes a stone in the way. Not seen: the agent's push and spin, materials.
"""

import math
from dataclasses import replace

from physics_sim import shapes
from physics_sim.draw import Draw
from physics_sim.scenarios import Scenario
from physics_sim.scenarios.common import SIZE, ground, materials, mirrored, stand
from physics_sim.scene import Scene, agent, fixture, patient, thing
from physics_sim.worlds import Range

SPEED = Range(0.8, 3.2, above=(3.5, 4.6))
SLOPE = (0.35, 0.65)
"""Radians."""
LENGTH = (1.4, 2.3)
"""Metres of slope."""


def layout(draw: Draw) -> Scene:
    floor = draw.uniform(0.8, 1.3)
    colour = draw.static_colour()
    mover, target = draw.kinds(agents=("ball", "box"))
    body, goal = shapes.of_kind(mover, draw.size(SIZE)), shapes.of_kind(target, draw.size(SIZE))
    slope, length = draw.uniform(*SLOPE), draw.uniform(*LENGTH)
    height = length * math.sin(slope)
    x = body.reach + draw.uniform(0.15, 0.5)
    edge = x + draw.uniform(0.2, 0.8) * draw.stretch
    foot = edge + length * math.cos(slope)
    ramp = shapes.Polygon(((-2.0, -0.5), (foot, -0.5), (foot, 0.0), (edge, height), (-2.0, height)), "ramp")
    goal_x = min(foot + draw.uniform(0.2, 1.5) * draw.stretch + goal.reach, 9.0)
    things = [
        ground(floor, colour),
        fixture("ramp", (ramp,), (0.0, floor), colour),
        patient(goal, (goal_x, stand(goal, floor))),
        agent(body, (x, stand(body, floor + height))),
    ]
    between = goal_x - goal.reach - foot
    if between > 1.1 and draw.chance(0.4):
        stone = shapes.Circle(draw.uniform(0.32, 0.42))
        things.append(thing("stone", stone, (goal_x - goal.reach - 0.5, stand(stone, floor)), draw.colour()))
    scene = Scene(tuple(things), background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def launch(scene: Scene, draw: Draw) -> Scene:
    scene = materials(scene, draw)
    body = scene["agent"]
    part = body.parts[0]
    towards = 1.0 if scene["patient"].parts[0].position[0] > part.position[0] else -1.0
    velocity = towards * draw.speed(SPEED, aimed=True)
    ball = isinstance(part.shapes[0], shapes.Circle)
    rolling = ball and draw.chance(0.7)
    spin = -velocity / part.shapes[0].reach if rolling else 0.0
    friction = draw.uniform(0.3, 0.8) if ball else draw.uniform(0.03, 0.3)
    return scene.swap(replace(body.moving((velocity, 0.0), spin), friction=friction))


PLACE = 3
make = Scenario(layout, launch, aimed=True)
