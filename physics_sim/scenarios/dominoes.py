"""Dominoes: a ball is rolled at a row of one to four dominoes; the last of them is the agent.

Seen at first: the row, its gaps, where the patient is. Not seen: how fast the ball comes, materials.
"""

from dataclasses import replace

from physics_sim import shapes
from physics_sim.draw import Draw
from physics_sim.scenarios import Scenario
from physics_sim.scenarios.common import DULL, SIZE, ground, materials, mirrored, stand
from physics_sim.scene import Scene, agent, patient, thing
from physics_sim.worlds import Range

HEIGHT = Range(1.7, 2.4, below=(1.2, 1.5), above=(2.6, 3.0))
SPEED = Range(1.3, 4.6, above=(4.9, 6.0))
THICK = (0.55, 0.75)
GAPS = {1: (0.3, 0.5), 2: (0.3, 0.5), 3: (0.18, 0.34), 4: (0.12, 0.22)}
"""Between so many dominoes, in heights."""
WAYS = {1: (1.3, 2.4), 2: (0.3, 0.9), 3: (0.25, 0.6), 4: (0.2, 0.4)}
"""From the ball to the first of so many."""


def layout(draw: Draw) -> Scene:
    floor = draw.uniform(0.8, 1.3)
    colour = draw.static_colour()
    _, target = draw.kinds(agents=("box",))
    height, thick = draw.size(HEIGHT), draw.uniform(*THICK)
    domino = shapes.box(thick, height)
    count = draw.choice((1, 1, 2, 2, 3, 3, 4) if draw.stretch == 1 else (2, 3, 4))
    # The more there are the closer they stand, and the nearer is the ball: they must be down in time, but not too soon.
    gap = draw.uniform(*GAPS[count]) * height
    probe = shapes.Circle(draw.uniform(0.65, 0.85))
    goal = shapes.of_kind(target, draw.size(replace(SIZE, high=0.95)))
    paint = draw.colour()
    x = 0.3 + probe.radius
    things = [ground(floor, colour)]
    row = x + probe.radius + draw.uniform(*WAYS[count]) * draw.stretch + thick / 2
    for number in range(count):
        place = row + number * (gap + thick), stand(domino, floor)
        if number == count - 1:
            things.append(replace(agent(domino, place), rests=True))
        else:
            things.append(thing(f"domino-{number + 1}", domino, place, paint))
    last = row + (count - 1) * (gap + thick) + thick / 2
    beyond = last + draw.uniform(0.35, 0.7) * height + goal.reach
    things.append(patient(goal, (min(beyond, 9.2), stand(goal, floor))))
    things.append(thing("probe", probe, (x, stand(probe, floor)), draw.colour()))
    scene = Scene(tuple(things), background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def launch(scene: Scene, draw: Draw) -> Scene:
    scene = materials(scene, draw, DULL)
    probe = scene["probe"]
    towards = 1.0 if scene["agent"].parts[0].position[0] > probe.parts[0].position[0] else -1.0
    speed = towards * draw.speed(SPEED, aimed=True)
    rolling = probe.moving((speed, 0.0), -speed / probe.parts[0].shapes[0].reach)
    return scene.swap(replace(rolling, density=draw.uniform(2.0, 4.0)))


PLACE = 5
make = Scenario(layout, launch, aimed=True)
