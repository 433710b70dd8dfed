"""A simulated world of balls, blocks and chains, drawn as short clips with exact labels. Stands alone: no MLX.

    import physics_sim
    clip = physics_sim.make_clip("collide", "train", 7)     # a pure function of its arguments
    clip.frames                                             # (16, 64, 64, 3) uint8
    for clip in physics_sim.stream(physics_sim.SCENARIOS, "train", seed=0, workers=2): ...

The world is 10 m square, y up; a clip is 16 frames 0.1 s apart, the first 8 given (both can be chosen). The question:
will the agent (red) touch the patient (yellow) after the given frames?

SCENARIOS, LAWS     names that `make_clip` takes: situations with the question, and PhyWorld's laws (no question).
WORLD_VERSION       2, the version of the world that is the default; `physics_sim.worlds` says what each draws from.
    2                   gravity differs from clip to clip (0 to 6 m/s^2 in parabolas, 1.5 to 5 in scenarios); balls
                        collide at any time or never, are thrown up or down, may leave the picture later on
    1                   the first version: gravity 3, collisions soon after the given frames, nothing leaves the picture
    "phyworld"          the laws with the numbers of PhyWorld's code: gravity 2.5, 3 of 32 frames, motion to the right
SPLITS              all splits; `splits(name, world)` says which a scenario or law has. They never share random streams.
    train, val, test    one distribution
    ood_size            radii and sides beyond the training range
    ood_speed           speeds beyond it
    ood_gravity         gravity beyond it (scenarios, parabola)
    ood_both            size and speed (laws)
    interpolate         inside the range, from a region of (radius, speed) left out of training (laws)
    combinations        kinds of agent and patient that never meet in training (scenarios)

make_clip(scenario, split="train", index=0, *, seed=0, size=64, frames=None, given=None, world=2) -> Clip
    seed 0 is the official data. Scenario clips 2k and 2k + 1 begin with the same first frame and differ in what it
    does not show; exactly one of them has the contact (see `sampling`). frames: T below, 16 by default; given: how many
    of them are shown, 8 by default (half of fewer than 16).
Clip
    .scenario .split .index .seed .size .given .world
    .frames             (T, size, size, 3) uint8 RGB, drawn when first asked for
    .scene              Scene: .bodies, .joints, .gravity (m/s^2), .background
    .bodies             tuple of Body: .name, .role ('agent', 'patient', 'distractor', 'static'), .shape (a dict with
                        'kind'), .colour, .mass (inf if fixed), .elasticity, .friction, .fixed
    .position           (T, N, 2) metres; .angle (T, N) radians; .velocity (T, N, 2) m/s; .angular_velocity (T, N)
    .contacts           list of Contact: .time (frames since the first, sub-frame), .bodies (two names), .impulse (N s)
    .contact            bool: agent touches patient, in a scenario after the given frames, in a law at any time
    .contact_time       when, in frames since the first (in a scenario 7 < time <= 15), nan if never
    .chaotic            bool: ten times the substeps answer otherwise or touch > 0.1 frame apart (slow: runs them)
    .pixels(size=None)  (T, N, 2) centres in pixel coordinates: x right, y down, pixel centres at halves
    .masks(size=None)   (T, size, size) uint8 instance maps: 1 + place in .bodies, 0 for background
    .render(size), .metadata() -> JSON-able dict: every cause (gravity, masses, elasticities, frictions, first states)
render(clip_or_scene, size=64) -> frames
stream(scenarios, split, *, seed=0, start=0, size=64, frames=None, given=None, world=2, workers=0) -> iterator of clips
    Position p is clip p // S of scenario p % S (S scenarios); begins at position `start`; endless; the same clips in
    the same order with any number of workers. Frames are drawn in the workers.
register(name, make)
    Adds a scenario of your own: a Scenario, a Law, or a function from a Draw to a Scene (`@register("pendulum")`).
make_probe(family, value, seed=0, *, size=64, given=8) -> Clip
    One cause set to a value, everything else the same; see `physics_sim.families`.
make_twins(kind, index=0, *, seed=0, size=64, given=8) -> Twins
    A possible clip and an impossible one that begin with the same frames; see `physics_sim.twins`.
fingerprint(clips)  SHA-256 over labels and states rounded to 1e-6
open_dataset(path) -> iterator of (frames, metadata) of a data set written by `vdt-mlx simulate`, checksums verified
describe_dataset(path) -> dict: what it is made of (scenarios, split, seed, clips, size, frames, given, world)
SimulationError     bad input, in one sentence

Importing this package is cheap; pymunk and numpy are imported when something is first simulated.
"""

from typing import TYPE_CHECKING, Any

from physics_sim.errors import SimulationError
from physics_sim.names import SPLITS
from physics_sim.units import AGENT_COLOUR, FRAME_TIME, FRAMES, GIVEN, PATIENT_COLOUR, WORLD
from physics_sim.worlds import WORLD_VERSION

if TYPE_CHECKING:
    from physics_sim.clip import Clip
    from physics_sim.clip import render_scene as render
    from physics_sim.dataset_reader import describe as describe_dataset
    from physics_sim.dataset_reader import read as open_dataset
    from physics_sim.digest import fingerprint
    from physics_sim.draw import Draw
    from physics_sim.families import make_probe
    from physics_sim.sampling import make_clip, splits
    from physics_sim.scenarios import Law, Scenario, register
    from physics_sim.scene import Body, Joint, Part, Scene
    from physics_sim.streaming import stream
    from physics_sim.twins import make_twins
    from physics_sim.world import Contact
    from physics_sim.worlds import Range

    SCENARIOS: tuple[str, ...]
    LAWS: tuple[str, ...]

__all__ = [
    "AGENT_COLOUR",
    "FRAMES",
    "FRAME_TIME",
    "GIVEN",
    "LAWS",
    "PATIENT_COLOUR",
    "SCENARIOS",
    "SPLITS",
    "WORLD",
    "WORLD_VERSION",
    "Body",
    "Clip",
    "Contact",
    "Draw",
    "Joint",
    "Law",
    "Part",
    "Range",
    "Scenario",
    "Scene",
    "SimulationError",
    "describe_dataset",
    "fingerprint",
    "make_clip",
    "make_probe",
    "make_twins",
    "open_dataset",
    "register",
    "render",
    "splits",
    "stream",
]

_LAZY = {
    "Body": "scene:Body",
    "Clip": "clip:Clip",
    "Contact": "world:Contact",
    "Draw": "draw:Draw",
    "Joint": "scene:Joint",
    "Law": "scenarios:Law",
    "Part": "scene:Part",
    "Range": "worlds:Range",
    "Scenario": "scenarios:Scenario",
    "Scene": "scene:Scene",
    "fingerprint": "digest:fingerprint",
    "describe_dataset": "dataset_reader:describe",
    "open_dataset": "dataset_reader:read",
    "make_clip": "sampling:make_clip",
    "make_probe": "families:make_probe",
    "make_twins": "twins:make_twins",
    "register": "scenarios:register",
    "render": "clip:render_scene",
    "splits": "sampling:splits",
    "stream": "streaming:stream",
}


def __getattr__(name: str) -> Any:
    if name in ("SCENARIOS", "LAWS"):
        # Not kept: more may be registered.
        from physics_sim import names

        return names.scenarios() if name == "SCENARIOS" else names.laws()
    if name not in _LAZY:
        raise AttributeError(f"module 'physics_sim' has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _LAZY[name].partition(":")
    value = getattr(import_module(f"physics_sim.{module}"), attribute)
    globals()[name] = value
    return value
