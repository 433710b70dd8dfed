"""What the page begins with: scenes of the simulator's scenarios, laws and probes, and an empty room."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import physics_sim
from physics_sim.families import FAMILIES
from physics_sim.scenarios.common import ground
from physics_sim.scene import Scene
from physics_sim.units import STATIC_COLOURS
from vdt_mlx.play.scene import write_scene

FIRST = "collide"
"""What a visitor sees first; its clip is one in which agent and patient do touch."""
ROOM = "room"
PROBE = "probe-"


@dataclass(frozen=True)
class Preset:
    """A scene to begin with."""

    scene: dict[str, Any]
    """As `write_scene` writes it."""
    note: str = ""
    """What is to be known of it, in one sentence."""


def names() -> list[dict[str, str]]:
    """[{name, title, group}] in the order of the page."""
    laws = [name for name in physics_sim.LAWS if name not in physics_sim.SCENARIOS]
    return [
        *({"name": name, "title": name, "group": "scenarios"} for name in physics_sim.SCENARIOS),
        *({"name": name, "title": name, "group": "laws"} for name in laws),
        *({"name": PROBE + name, "title": f.title, "group": "one cause turned"} for name, f in FAMILIES.items()),
        {"name": ROOM, "title": "empty room", "group": "your own"},
    ]


@lru_cache(maxsize=256)
def preset(name: str, number: int = 0) -> Preset:
    """A scene by name.

    `number` chooses among the validation clips, of which those with a contact come first; of a probe it goes through
    the values of the cause, and then begins anew with other sizes and places.
    """
    if name == ROOM:
        return Preset(write_scene(Scene((ground(1.2, STATIC_COLOURS[0]),))))
    if name.startswith(PROBE):
        return _probe(name.removeprefix(PROBE), number)
    return Preset(write_scene(physics_sim.make_clip(name, "val", _with_contact(name, number)).scene))


def _probe(name: str, number: int) -> Preset:
    family = FAMILIES[name]
    seed, place = divmod(number, len(family.values))
    value = family.values[place]
    told = "never" if value is None else f"{value:g} {family.unit}".strip()
    note = f"{family.title}: {told}. “Another” shows its next value; everything else stays as it is."
    return Preset(write_scene(physics_sim.make_probe(name, value, seed).scene), note[0].upper() + note[1:])


def _with_contact(name: str, number: int) -> int:
    if name in physics_sim.LAWS:
        return number
    # Clips come in pairs that share their first frame, and one of a pair has a contact.
    first = 2 * number
    return first if physics_sim.make_clip(name, "val", first).contact else first + 1
