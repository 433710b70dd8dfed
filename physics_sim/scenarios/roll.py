"""Roll: the agent rolls or slides down a ramp towards the patient on the floor, sometimes with something in its way.

Seen at first: ramp, sizes, distances. Not seen: the push that the agent got, materials.
"""

import math
from dataclasses import replace

from physics_sim import shapes
from physics_sim.draw import Draw, Range
from physics_sim.scenarios import Scenario
from physics_sim.scenarios.common import SIZE, ground, materials, mirrored, stand
from physics_sim.scene import Scene, agent, fixture, patient, thing

SPEED = Range(-0.6, 3.2, above=(3.5, 4.6))
"""Along the ramp, downwards."""
SLOPE = (0.3, 0.6)
"""Radians."""


def layout(draw: Draw) -> Scene:
    floor = draw.uniform(0.8, 1.3)
    colour = draw.static_colour()
    mover, target = draw.kinds(agents=("ball", "box"))
    body, goal = shapes.of_kind(mover, draw.size(SIZE)), shapes.of_kind(target, draw.size(SIZE))
    slope = draw.uniform(*SLOPE)
    foot = draw.uniform(4.2, 5.0)
    top = foot * math.tan(slope)
    ramp = shapes.Polygon(((-2.0, -0.5), (foot, -0.5), (foot, 0.0), (0.0, top), (-2.0, top)), "ramp")
    # The agent's place: its distance up the ramp from the foot, and its own size away from the surface.
    up = min(draw.uniform(2.0, 3.4) * draw.stretch, foot - 1.0)
    clear = body.below()
    x = foot - up * math.cos(slope) + clear * math.sin(slope)
    y = floor + up * math.sin(slope) + clear * math.cos(slope)
    goal_x = min(foot + draw.uniform(0.4, 1.8) * draw.stretch + goal.reach, 9.0)
    things = [
        ground(floor, colour),
        fixture("ramp", (ramp,), (0.0, floor), colour),
        patient(goal, (goal_x, stand(goal, floor))),
        agent(body, (x, y), -slope),
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
    speed = draw.speed(SPEED)
    down = 1.0 if part.angle < 0 else -1.0
    slope = abs(part.angle)
    ball = isinstance(part.shapes[0], shapes.Circle)
    rolling = ball and draw.chance(0.7)
    spin = -down * speed / part.shapes[0].reach if rolling else 0.0
    velocity = (down * speed * math.cos(slope), -speed * math.sin(slope))
    friction = draw.uniform(0.3, 0.8) if ball else draw.uniform(0.03, 0.3)
    return scene.swap(replace(body.moving(velocity, spin), friction=friction))


make = Scenario(layout, launch, faster=True)
