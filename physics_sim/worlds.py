"""The versions of the world: from which ranges a clip's causes are drawn. Every clip names its version.

Version 2 is the default. Version 1, the first one, is kept as it was, so that older results stay comparable: gravity is
always 3 m/s^2, every collision comes soon after the given frames, parabolas begin horizontally, nothing leaves the
picture. `phyworld` has the numbers of the code of PhyWorld (arXiv 2411.02385): its laws alone, 3 of 32 frames given.
"""

from collections.abc import Callable
from dataclasses import dataclass

from physics_sim.errors import SimulationError
from physics_sim.units import FRAMES, GIVEN, GRAVITY

World = int | str


@dataclass(frozen=True)
class Range:
    """Where a quantity is drawn from: low to high in distribution, the ranges `below` and `above` out of it."""

    low: float
    high: float
    below: tuple[float, float] | None = None
    above: tuple[float, float] | None = None


@dataclass(frozen=True)
class Moment:
    """When the two balls of the law of collision meet: between two times in frames after the first, or never."""

    share: float
    """Of the clips."""
    low: float
    high: float
    """A negative time lies before the clip; nan: they never meet."""


NEVER = float("nan")


def _soon(given: int, frames: int) -> tuple[Moment, ...]:
    return (Moment(1.0, given - 0.7, given + 4.5),)


def _any_time(given: int, frames: int) -> tuple[Moment, ...]:
    return (
        Moment(0.15, -8.0, 0.0),
        Moment(0.2, 0.3, given - 1.0),
        Moment(0.35, given - 1.0, frames - 1.0),
        Moment(0.15, frames - 1.0, frames + 8.0),
        Moment(0.15, NEVER, NEVER),
    )


def _well_inside(given: int, frames: int) -> tuple[Moment, ...]:
    return (Moment(1.0, min(8.0, frames / 2), max(frames - 8.0, frames / 2)),)


@dataclass(frozen=True)
class Profile:
    """One version of the world. Lengths in metres, speeds in m/s, gravity in m/s^2."""

    world: World
    frames: int = FRAMES
    """How many, unless it is asked for otherwise."""
    given: int = GIVEN
    """How many of them are given, at most (half of a shorter clip)."""
    law_gravity: Range = Range(GRAVITY, GRAVITY)
    """Of the law of the parabola; the other laws have none."""
    weightless: float = 0.0
    """The share of parabolas whose gravity is zero."""
    gravity: Range = Range(GRAVITY, GRAVITY)
    """Of the scenarios."""
    radius: Range = Range(0.7, 1.5, below=(0.3, 0.6), above=(1.5, 2.0))
    """Of the ball of a law."""
    meeting_radius: Range | None = None
    """Of the two balls of a collision, where it is another."""
    speed: Range = Range(1.0, 4.0, below=(0.0, 0.8), above=(4.5, 6.0))
    """Along the horizontal, of the ball of a law."""
    lift: Range = Range(0.0, 0.0)
    """Upward velocity at the beginning of a parabola."""
    meetings: Callable[[int, int], tuple[Moment, ...]] = _soon
    """When the balls of a collision meet, by the numbers of given frames and of frames."""
    hole: tuple[tuple[float, float], tuple[float, float]] | None = ((1.0, 1.2), (2.2, 2.8))
    """Balls of these radii at these speeds are only in the split `interpolate`."""
    phase: float = 0.0
    """Seconds from the throw of a parabola to the first frame."""
    leaves: bool = False
    """Whether a ball may leave the picture after the given frames."""
    stays: int | None = None
    """Frames for which a ball alone stays in the picture along the horizontal, if it is not too fast; None: all."""
    rim: float = 0.0
    """Metres above and below balls that are left free; where there is one, parabolas begin within 1 m below it."""
    rightwards: bool = False
    """Whether the agent always moves to the right."""
    scenarios: bool = True
    """Whether the world has the scenarios too, or only the laws."""
    without: tuple[str, ...] = ()
    """Splits that it does not have."""

    @property
    def colliding(self) -> Range:
        """Radii of two balls that collide."""
        return self.meeting_radius or self.radius


WORLD_VERSION = 2
"""The default, and the newest."""

PROFILES: dict[World, Profile] = {
    1: Profile(1, without=("ood_gravity",)),
    2: Profile(
        2,
        law_gravity=Range(0.0, 6.0, above=(6.6, 9.0)),
        weightless=0.08,
        gravity=Range(1.5, 5.0, below=(0.7, 1.2), above=(5.5, 7.5)),
        lift=Range(-4.0, 4.0, below=(-6.0, -4.5), above=(4.5, 6.0)),
        meetings=_any_time,
        leaves=True,
        stays=0,
    ),
    "phyworld": Profile(
        "phyworld",
        frames=32,
        given=3,
        law_gravity=Range(2.5, 2.5),
        radius=Range(0.7, 1.4, below=(0.3, 0.6), above=(1.5, 2.0)),
        meeting_radius=Range(0.5, 1.5, below=(0.3, 0.4), above=(1.7, 2.0)),
        meetings=_well_inside,
        phase=0.01,
        hole=None,
        leaves=True,
        stays=24,
        rim=0.5,
        rightwards=True,
        scenarios=False,
        without=("ood_gravity", "interpolate"),
    ),
}


def find_profile(world: World) -> Profile:
    """The version of that name (2, 1, "phyworld"; "2" is 2); raises SimulationError if there is none."""
    key = int(world) if isinstance(world, str) and world.isdecimal() and len(world) < 4 else world
    if isinstance(key, bool) or not isinstance(key, int | str) or key not in PROFILES:
        known = ", ".join(map(str, PROFILES))
        raise SimulationError(f"There is no version {world!r} of the world; there are {known}.")
    return PROFILES[key]
