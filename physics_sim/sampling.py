"""From (scenario, split, seed, index) to a clip: a pure function, by seeded rejection.

Clips of a scenario come in pairs: 2k and 2k + 1 begin with the same first frame and differ in what it does not show
(speeds, spins, friction, elasticity), and exactly one of them has the contact. So every even-sized run of a split is
balanced exactly, and the first frame says nothing about the answer. Which of the two has it is a fair coin.
"""

import math
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from physics_sim.clip import Clip
from physics_sim.draw import Draw
from physics_sim.errors import SimulationError
from physics_sim.names import SPLITS
from physics_sim.rendering import check_size
from physics_sim.scenarios import Law, Scenario, find
from physics_sim.scene import Scene
from physics_sim.shapes import Shape, distance, outline
from physics_sim.units import FRAME_TIME, WORLD
from physics_sim.world import Contact, Stopped, Trajectory, simulate
from physics_sim.worlds import WORLD_VERSION, Profile, World, find_profile

LAYOUTS = 1000
"""First frames tried for one pair before giving up."""
LAUNCHES = 6
"""Hidden choices tried for one first frame."""
NARROWEST = 0.15
"""Share of an aimed range that the search for the second answer keeps at least."""
HOPELESS = 0.7
"""Place in an aimed range, from either end, beyond which the wrong answer says that the layout has no other."""
EVENTFUL = 0.2
"""Metres by which something must end up away from where constant velocity since the last given frame leads."""
MISS = 0.25
"""Metres (1.6 pixels at 64) by which an agent without contact misses, so that the answer can be seen."""
MARGIN = 0.1
"""Metres that the centres of agent and patient, or of their links, stay inside the picture."""
IN_SIGHT = 0.75
"""Share of the links that must."""


LARGEST = 2**63
"""Seeds and numbers of clips are below."""
SHORTEST, LONGEST = 10, 1024
"""Frames that a scenario's clip may have: what is shown at rest needs a second to come to a contact."""


@dataclass(frozen=True)
class Recipe:
    """What decides all clips of one stream, up to their numbers. Made by `check`."""

    scenario: str
    split: str
    seed: int
    profile: Profile
    frames: int
    given: int

    def draw(self, number: int) -> Draw:
        """The random choices for one clip, or for one pair of them."""
        # The first version of the world had no name, and keeps its streams.
        name = () if self.profile.world == 1 else (str(self.profile.world),)
        rng = generator(self.scenario, self.split, self.seed, number, *name)
        return Draw(rng, self.split, self.profile, self.frames, self.given)


def make_clip(
    scenario: str,
    split: str = "train",
    index: int = 0,
    *,
    seed: int = 0,
    size: int = 64,
    frames: int | None = None,
    given: int | None = None,
    world: World = WORLD_VERSION,
) -> Clip:
    """One clip; the same arguments give the same bytes. Raises SimulationError for arguments that do not fit.

    scenario, split: names, see `physics_sim`. index: number of the clip from 0. size: side of a frame in pixels.
    frames: how many (by default the world's: 16); given: how many of them a model is shown (by default the world's, at
    most half of them), which decides where a contact may come. world: the version, 2, 1 or "phyworld".
    """
    recipe = check(scenario, split, seed, frames=frames, given=given, world=world)
    if isinstance(index, bool) or not isinstance(index, int | np.integer) or not 0 <= index < LARGEST:
        raise SimulationError(f"The index of a clip must be a whole number from 0 to 2^63 - 1, not {index!r}.")
    check_size(size)
    index = int(index)
    if isinstance(find(scenario), Law):
        scene, trajectory = _law(recipe, index)
    else:
        scene, trajectory = _pair(recipe, index // 2)[index % 2]
    return Clip(
        scene,
        trajectory.copy(),  # what is kept for the next call is nobody's to change
        scenario,
        split,
        index,
        recipe.seed,
        size,
        given=recipe.given,
        world=recipe.profile.world,
    )


def check(
    scenario: str,
    split: str,
    seed: int,
    *,
    frames: int | None = None,
    given: int | None = None,
    world: World = WORLD_VERSION,
) -> Recipe:
    """Raises SimulationError unless there are such clips."""
    profile = find_profile(world)
    maker = find(scenario)
    if split not in SPLITS:
        raise SimulationError(f"There is no split {split!r}; there are {', '.join(SPLITS)}.")
    if not profile.scenarios and isinstance(maker, Scenario):
        raise SimulationError(f"World {profile.world} has laws only, and {scenario} is none.")
    there = splits(scenario, world)
    if split not in there:
        where = "" if profile.world == WORLD_VERSION else f" in world {profile.world}"
        raise SimulationError(f"{scenario} has no split {split!r}{where}; it has {', '.join(there)}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < LARGEST:
        raise SimulationError(f"A seed must be a whole number from 0 to 2^63 - 1, not {seed!r}.")
    frames = profile.frames if frames is None else frames
    least = SHORTEST if isinstance(maker, Scenario) else 2
    if isinstance(frames, bool) or not isinstance(frames, int | np.integer) or not least <= frames <= LONGEST:
        raise SimulationError(f"frames must be a whole number from {least} to {LONGEST}, not {frames!r}.")
    given = min(profile.given, int(frames) // 2) if given is None else given
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not 1 <= given < frames:
        raise SimulationError(f"given must be a whole number from 1 to {frames - 1} (frames less one), not {given!r}.")
    return Recipe(scenario, split, int(seed), profile, int(frames), int(given))


def generator(*key: str | int) -> np.random.Generator:
    """Names enter by their CRC, so no split of a scenario shares a stream with another."""
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key])


@lru_cache(maxsize=64)
def _law(recipe: Recipe, index: int) -> tuple[Scene, Trajectory]:
    maker = find(recipe.scenario)
    assert isinstance(maker, Law)
    draw = recipe.draw(index)
    reasons: Counter[str] = Counter()
    for _ in range(LAYOUTS):
        scene = maker.scene(draw)
        trajectory = simulate(scene, frames=recipe.frames)
        fault = maker.fault(scene, trajectory, draw)
        if fault is None:
            return scene, trajectory
        reasons[fault] += 1
    raise _endless(recipe, reasons)


@lru_cache(maxsize=64)
def _pair(recipe: Recipe, pair: int) -> tuple[tuple[Scene, Trajectory], ...]:
    maker = find(recipe.scenario)
    assert isinstance(maker, Scenario)
    draw = recipe.draw(pair)
    first = draw.chance(0.5)
    reasons: Counter[str] = Counter()
    for _ in range(LAYOUTS):
        layout = maker.layout(draw)
        found = _both(maker, layout, draw, reasons)
        if len(found) == 2:
            return found[first], found[not first]
    raise _endless(recipe, reasons)


def _both(maker: Scenario, layout: Scene, draw: Draw, reasons: Counter[str]) -> dict[bool, tuple[Scene, Trajectory]]:
    """Launches one layout until it has given a clip with contact and one without, or too often."""
    found: dict[bool, tuple[Scene, Trajectory]] = {}
    given = draw.given
    draw.window = (0.0, 1.0)
    for attempt in range(LAUNCHES):
        if attempt == LAUNCHES // 2 and not found:
            break
        scene = maker.launch(layout, draw)
        late = True
        try:
            trajectory = simulate(scene, frames=draw.frames, stop=lambda time: time <= given - 1 or True in found)
            touched = not math.isnan(trajectory.touch)
        except Stopped as stopped:
            touched, late = True, stopped.args[0] > given - 1
        if not late:
            reasons["contact comes in the given frames"] += 1
        elif touched in found:
            reasons["every clip has contact" if touched else "no clip has contact"] += 1
        elif fault := find_fault(scene, trajectory, given):
            reasons[fault] += 1
        else:
            found[touched] = scene, trajectory
            if len(found) == 2:
                break
        if maker.aimed:
            low, high = draw.window
            extreme = draw.drawn if not touched else 1 - draw.drawn
            if late and (not touched) not in found and extreme > HOPELESS:
                break
            if not late or True in found:
                high = max(draw.drawn, low + NARROWEST)
            elif not touched:
                low = min(draw.drawn, high - NARROWEST)
            draw.window = low, high
    return found


def find_fault(scene: Scene, trajectory: Trajectory, given: int) -> str | None:
    """Why a clip is no good, or None: agent and patient in sight, something to predict after the given frames."""
    position = trajectory.position
    first = 0
    eventful = any(contact.time > given - 1 and _telling(scene, contact) for contact in trajectory.contacts)
    for body in scene.bodies:
        last = first + len(body.parts)
        if not body.fixed:
            path = position[:, first:last].mean(axis=1)
            if body.role in ("agent", "patient"):
                inside = ((position[:, first:last] >= MARGIN) & (position[:, first:last] <= WORLD - MARGIN)).all(axis=2)
                if inside.mean(axis=1).min() < IN_SIGHT:
                    return f"the {body.role} leaves the picture"
            if not eventful:
                way = trajectory.velocity[given - 1, first:last].mean(axis=0) * FRAME_TIME * (len(path) - given)
                eventful = bool(np.abs(path[-1] - path[given - 1] - way).max() > EVENTFUL)
        first = last
    if not eventful:
        return "nothing happens after the given frames"
    if math.isnan(trajectory.touch) and clearance(scene, trajectory, given) < MISS:
        return "the agent misses too narrowly"
    return None


def _telling(scene: Scene, contact: Contact) -> bool:
    """Whether a contact is an event: of things that move, or of one with the patient, but not of one with scenery."""
    return all(not scene[name].fixed or scene[name].role == "patient" for name in contact.bodies)


def clearance(scene: Scene, trajectory: Trajectory, given: int) -> float:
    """The least distance between agent and patient in the frames to predict, in metres (at corners a lower bound)."""
    places: dict[str, list[tuple[int, Shape]]] = {"agent": [], "patient": []}
    number = 0
    for body in scene.bodies:
        for part in body.parts:
            if body.role in places:
                places[body.role] += [(number, shape) for shape in part.shapes]
            number += 1
    least = math.inf
    position, angle = trajectory.position[given:], trajectory.angle[given:]
    for i, shape in places["agent"]:
        points = outline(shape)
        s, c = np.sin(angle[:, i, None]), np.cos(angle[:, i, None])
        x = position[:, i, None, 0] + c * points[:, 0] - s * points[:, 1]
        y = position[:, i, None, 1] + s * points[:, 0] + c * points[:, 1]
        for j, other in places["patient"]:
            u, v = x - position[:, j, None, 0], y - position[:, j, None, 1]
            s, c = np.sin(angle[:, j, None]), np.cos(angle[:, j, None])
            least = min(least, float(distance(other, c * u + s * v, c * v - s * u).min()))
    return least


def _endless(recipe: Recipe, reasons: Counter[str]) -> SimulationError:
    why, count = reasons.most_common(1)[0]
    what = f"No clip of {recipe.scenario} ({recipe.split}) with {recipe.frames} frames, {recipe.given} of them given,"
    return SimulationError(f"{what} meets its conditions in {reasons.total()} tries: mostly, {why} ({count}).")


def splits(name: str, world: World = WORLD_VERSION) -> tuple[str, ...]:
    """The splits that a scenario or law has in a version of the world: none if it is not there."""
    profile, maker = find_profile(world), find(name)
    if not profile.scenarios and isinstance(maker, Scenario):
        return ()
    return tuple(split for split in maker.splits if split not in profile.without)
