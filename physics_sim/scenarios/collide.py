"""Collide: the agent is pushed along the ground, or thrown, towards the patient.

Seen at first: who stands where, sizes, kinds, the height it is thrown from. Not seen: its velocity and spin, materials.
"""

from dataclasses import replace

from physics_sim import shapes
from physics_sim.draw import Draw
from physics_sim.scenarios import Scenario
from physics_sim.scenarios.common import SIZE, ground, materials, mirrored, stand
from physics_sim.scene import Scene, agent, patient, thing
from physics_sim.worlds import Range

SPEED = Range(1.2, 4.0, above=(4.3, 5.5))
LIFT = (-0.8, 2.4)
"""Upward speed of a throw."""
SPIN = (-3.0, 3.0)


def layout(draw: Draw) -> Scene:
    floor = draw.uniform(0.9, 1.5)
    colour = draw.static_colour()
    thrown = draw.chance(0.5)
    mover, target = draw.kinds(agents=("ball", "box") if not thrown else shapes.KINDS)
    body = shapes.of_kind(mover, draw.size(SIZE))
    goal = shapes.of_kind(target, draw.size(SIZE))
    x = body.reach + draw.uniform(0.3, 1.0)
    y = stand(body, floor) + (draw.uniform(1.0, 3.5) if thrown else 0.0)
    gap = draw.uniform(1.6, 3.2) * draw.stretch
    far = min(x + body.reach + gap + goal.reach, 9.0 - goal.reach)
    things = [ground(floor, colour), patient(goal, (far, stand(goal, floor))), agent(body, (x, y))]
    room = 9.6 - far - goal.reach
    if draw.chance(0.35) and room > 1.1:
        shape = shapes.of_kind(draw.choice(("ball", "box")), draw.uniform(0.45, min(0.8, room / 2.3)))
        things.append(thing("block", shape, (9.6 - shape.reach, stand(shape, floor)), draw.colour()))
    scene = Scene(tuple(things), background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def launch(scene: Scene, draw: Draw) -> Scene:
    scene = materials(scene, draw)
    moving, goal = scene["agent"].parts[0], scene["patient"].parts[0]
    towards = 1.0 if goal.position[0] > moving.position[0] else -1.0
    in_air = (
        moving.position[1] - moving.shapes[0].below()
        > scene["patient"].parts[0].position[1] - goal.shapes[0].below() + 0.5
    )
    lift = draw.uniform(*LIFT) if in_air else 0.0
    spin = draw.uniform(*SPIN)
    if isinstance(moving.shapes[0], shapes.Polygon) and not in_air:
        spin = 0.0
    body = scene["agent"].moving((towards * draw.speed(SPEED, aimed=True), lift), spin)
    return scene.swap(replace(body, friction=draw.uniform(0.15, 0.5)))


PLACE = 1
make = Scenario(layout, launch, aimed=True)
