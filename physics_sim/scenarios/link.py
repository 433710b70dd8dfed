"""Link: the agent hangs on a chain from a peg and is struck; will it swing as far as the patient?

Seen at first: the chain, the patient on its stand, the ball that strikes. Not seen: how fast it comes, materials.
"""

from dataclasses import replace

from physics_sim import shapes
from physics_sim.draw import Draw
from physics_sim.scenarios import Scenario
from physics_sim.scenarios.common import SIZE, ground, materials, mirrored, stand
from physics_sim.scene import Body, Joint, Part, Scene, agent, fixture, patient, thing
from physics_sim.worlds import Range

SPEED = Range(0.7, 4.8, above=(4.9, 6.0))
LINK = (0.55, 0.75)
"""Length of a link."""
WIRE = 0.1
HANGING = 1
"""The group of the chain and what hangs on it: they pass through each other."""


def layout(draw: Draw) -> Scene:
    floor = draw.uniform(0.8, 1.2)
    colour = draw.static_colour()
    mover, target = draw.kinds(agents=("ball", "box", "hexagon", "capsule"))
    body, goal = shapes.of_kind(mover, draw.size(SIZE)), shapes.of_kind(target, draw.size(SIZE))
    x, top = draw.uniform(3.8, 4.6), draw.uniform(7.6, 8.8)
    count, length = draw.choice((3, 4, 5)), draw.uniform(*LINK)
    link = shapes.Capsule((0.0, -length / 2), (0.0, length / 2), WIRE)
    parts = tuple(Part((link,), (x, top - (number + 0.5) * length)) for number in range(count))
    chain = Body("chain", "distractor", parts, draw.colour(), rests=True, group=HANGING)
    hang = top - count * length
    y = hang - body.below() * 0.8
    joints = [Joint(("chain", 0), None, (x, top))]
    joints += [Joint(("chain", n), ("chain", n - 1), (x, top - n * length)) for n in range(1, count)]
    joints += [Joint(("agent", 0), ("chain", count - 1), (x, hang))]
    bob = replace(agent(body, (x, y)), rests=True, group=HANGING)
    goal_x = x + body.reach + goal.reach + draw.uniform(0.5, 1.1) * draw.stretch
    lift = max(floor + 0.2, y - goal.reach + draw.uniform(-0.5, 0.4))
    pillar = shapes.box(1.1, lift - floor)
    things = [
        ground(floor, colour),
        fixture("peg", (shapes.Circle(0.22),), (x, top), colour),
        fixture("stand", (pillar,), (goal_x, (lift + floor) / 2), colour),
        chain,
        patient(goal, (goal_x, stand(goal, lift))),
        bob,
    ]
    probe = shapes.Circle(draw.uniform(0.5, 0.7))
    start = x - body.reach - probe.radius - draw.uniform(0.4, 1.1) * draw.stretch
    things.append(thing("probe", probe, (start, y + draw.uniform(0.0, 0.5)), draw.colour()))
    scene = Scene(tuple(things), tuple(joints), background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def launch(scene: Scene, draw: Draw) -> Scene:
    scene = materials(scene, draw)
    probe = scene["probe"]
    towards = 1.0 if scene["agent"].parts[0].position[0] > probe.parts[0].position[0] else -1.0
    thrown = probe.moving((towards * draw.speed(SPEED, aimed=True), draw.uniform(0.2, 1.2)))
    return scene.swap(replace(thrown, density=draw.uniform(2.0, 4.0) / draw.stretch**2)).with_body("chain", density=1.0)


PLACE = 7
make = Scenario(layout, launch, aimed=True)
