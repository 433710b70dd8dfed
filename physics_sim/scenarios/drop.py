"""Drop: the agent falls on a fixed support and rolls or bounces off, onto the patient beside it or past it.

Seen at first: support, heights, who is where. Not seen: the agent's velocity and spin, materials.
"""

from physics_sim import shapes
from physics_sim.draw import Draw
from physics_sim.scenarios import Scenario
from physics_sim.scenarios.common import SIZE, ground, materials, mirrored, stand
from physics_sim.scene import Scene, agent, fixture, patient, thing
from physics_sim.worlds import Range

SPEED = Range(0.3, 2.0, above=(2.2, 3.2))
FALLING = (0.3, 2.0)
SPIN = (-3.0, 3.0)


def layout(draw: Draw) -> Scene:
    floor = draw.uniform(0.8, 1.3)
    colour = draw.static_colour()
    mover, target = draw.kinds()
    body, goal = shapes.of_kind(mover, draw.size(SIZE)), shapes.of_kind(target, draw.size(SIZE))
    width, height = draw.uniform(1.6, 2.8), draw.uniform(1.0, 2.0)
    x = draw.uniform(3.6, 4.6)
    if draw.chance(0.4):
        block: shapes.Shape = shapes.Polygon(((-width / 2, 0.0), (width / 2, 0.0), (0.0, height)), "wedge")
        place = x, floor
    else:
        block, place = shapes.box(width, height), (x, floor + height / 2)
    goal_x = x + width / 2 + goal.reach + draw.uniform(0.1, 1.2)
    start = x + draw.uniform(-0.35, 0.5) * width, floor + height + body.reach + draw.uniform(0.8, 2.4)
    things = [
        ground(floor, colour),
        fixture("support", (block,), place, colour),
        patient(goal, (goal_x, stand(goal, floor))),
        agent(body, start),
    ]
    if draw.chance(0.35):
        other = shapes.of_kind(draw.choice(("ball", "box", "hexagon")), draw.uniform(0.45, 0.7))
        other_x = x - width / 2 - other.reach - draw.uniform(0.1, 0.6)
        things.append(thing("other", other, (other_x, stand(other, floor)), draw.colour()))
    scene = Scene(tuple(things), background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def launch(scene: Scene, draw: Draw) -> Scene:
    scene = materials(scene, draw)
    towards = 1.0 if scene["patient"].parts[0].position[0] > scene["agent"].parts[0].position[0] else -1.0
    across = draw.speed(SPEED) * (towards if draw.chance(0.75) else -towards)
    return scene.swap(scene["agent"].moving((across, -draw.uniform(*FALLING)), draw.uniform(*SPIN)))


PLACE = 2
make = Scenario(layout, launch)
