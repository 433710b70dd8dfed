"""Support: a ball is thrown at a tower of two to four blocks; its cap is the agent, a zone of the floor the patient.

Seen at first: the tower, the zone, the ball's height. Not seen: how fast the ball comes, materials.
"""

from dataclasses import replace

from physics_sim import shapes
from physics_sim.draw import Draw
from physics_sim.scenarios import Scenario
from physics_sim.scenarios.common import DULL, ground, materials, mirrored, stand
from physics_sim.scene import PATIENT_COLOUR, Body, Part, Scene, agent, thing
from physics_sim.worlds import Range

SIZE = Range(0.9, 1.25, below=(0.65, 0.8), above=(1.35, 1.6))
"""Width of a block."""
TALL = (1.2, 1.8)
"""Height of the tower without its cap."""
SPEED = Range(0.9, 4.6, above=(4.9, 6.0))


def layout(draw: Draw) -> Scene:
    floor = draw.uniform(0.8, 1.2)
    colour = draw.static_colour()
    cap, _ = draw.kinds(agents=("ball", "box", "hexagon", "triangle"), patients=("box",))
    count = draw.choice((1, 2, 2, 3))
    x = draw.uniform(3.0, 4.0)
    y = floor
    tall = draw.uniform(*TALL) / count
    paint = draw.colour()
    things = [ground(floor, colour)]
    for number in range(count):
        block = shapes.box(draw.size(SIZE), tall * draw.uniform(0.9, 1.1))
        y += block.below()
        things.append(thing(f"block-{number + 1}", block, (x + draw.uniform(-0.08, 0.08), y), paint))
        y += block.below()
    top = shapes.of_kind(cap, draw.size(SIZE) * 0.6)
    things.append(replace(agent(top, (x, y + top.below())), rests=True))
    thick = draw.uniform(0.35, 0.55)
    zone = shapes.box(draw.uniform(1.8, 2.8), thick)
    at = x + SIZE.high / 2 + zone.vertices[1][0] + draw.uniform(0.05, 0.9) * draw.stretch, floor + thick / 2
    goal = Part((zone,), at)
    things.append(Body("patient", "patient", (goal,), PATIENT_COLOUR, elasticity=1.0, friction=1.0, fixed=True))
    probe = shapes.Circle(draw.uniform(0.5, 0.75))
    start = (
        x - 0.9 - probe.radius - draw.uniform(0.0, 0.5) * draw.stretch,
        y + top.below() + draw.uniform(-0.6, 0.5),
    )
    things.append(thing("probe", probe, (start[0], max(start[1], stand(probe, floor))), draw.colour()))
    scene = Scene(tuple(things), background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def launch(scene: Scene, draw: Draw) -> Scene:
    scene = materials(scene, draw, DULL)
    probe = scene["probe"]
    towards = 1.0 if scene["agent"].parts[0].position[0] > probe.parts[0].position[0] else -1.0
    thrown = probe.moving((towards * draw.speed(SPEED, aimed=True), draw.uniform(0.0, 1.0)))
    return scene.swap(replace(thrown, density=draw.uniform(2.0, 4.0)))


PLACE = 6
make = Scenario(layout, launch, aimed=True)
