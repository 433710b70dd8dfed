"""Random draws that know which split they are for."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from physics_sim.scene import Colour
from physics_sim.shapes import KINDS
from physics_sim.units import BACKGROUNDS, DISTRACTOR_COLOURS, FRAME_TIME, FRAMES, GIVEN, STATIC_COLOURS
from physics_sim.worlds import PROFILES, WORLD_VERSION, Profile, Range

T = TypeVar("T")

HELD_OUT = frozenset(
    {("ball", "hexagon"), ("box", "ball"), ("triangle", "box"), ("hexagon", "capsule"), ("capsule", "triangle")}
)
"""(agent kind, patient kind) that only the split `combinations` has; each kind occurs in training in both roles."""

STRETCH = 1.7


class Draw:
    """A stream of random choices for one clip of one split."""

    def __init__(
        self,
        rng: np.random.Generator,
        split: str,
        profile: Profile = PROFILES[WORLD_VERSION],
        frames: int = FRAMES,
        given: int = GIVEN,
    ) -> None:
        self.rng, self.split, self.profile = rng, split, profile
        self.frames, self.given = frames, given
        self.meetings = profile.meetings(given, frames)
        self.window = (0.0, 1.0)
        """The part of a range that `aim` draws from: narrowed while a layout's second answer is looked for."""
        self.drawn = 0.5
        """Where in its range the latest `aim` lies, from 0 to 1."""

    @property
    def stretch(self) -> float:
        """By how much distances grow where speeds do, so that there is still something to wait for."""
        return STRETCH if self.split == "ood_speed" else 1.0

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return (self.frames - 1) * FRAME_TIME

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.rng.random())

    def chance(self, probability: float) -> bool:
        return float(self.rng.random()) < probability

    def sign(self) -> float:
        return 1.0 if self.rng.random() < 0.5 else -1.0

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self.rng.random() * len(options))]

    def size(self, within: Range) -> float:
        """A radius or side: beyond its range in the splits `ood_size` and `ood_both`."""
        low, high = self._range(within, self.split in ("ood_size", "ood_both"))
        return self.uniform(low, high)

    def speed(self, within: Range, *, aimed: bool = False) -> float:
        """A speed: beyond its range in the splits `ood_speed` and `ood_both`; `aimed`: by `aim`."""
        low, high = self._range(within, self.split in ("ood_speed", "ood_both"))
        return self.aim(low, high) if aimed else self.uniform(low, high)

    def gravity(self, within: Range) -> float:
        """A gravity: beyond its range in the split `ood_gravity`."""
        low, high = self._range(within, self.split == "ood_gravity")
        return low if low == high else self.uniform(low, high)

    def aim(self, low: float, high: float) -> float:
        """What decides about the contact: the nearer to `high`, the sooner it comes."""
        self.drawn = self.uniform(*self.window)
        return low + (high - low) * self.drawn

    def _range(self, within: Range, beyond: bool) -> tuple[float, float]:
        sides = [side for side in (within.below, within.above) if side is not None]
        return self.choice(sides) if beyond else (within.low, within.high)

    def kinds(self, agents: Sequence[str] = KINDS, patients: Sequence[str] = KINDS) -> tuple[str, str]:
        """Kinds of agent and patient; held-out pairs in `combinations` and only there."""
        held = self.split == "combinations"
        return self.choice([(a, p) for a in agents for p in patients if ((a, p) in HELD_OUT) == held])

    def background(self) -> Colour:
        return self.choice(BACKGROUNDS)

    def static_colour(self) -> Colour:
        return self.choice(STATIC_COLOURS)

    def colour(self) -> Colour:
        """Of a distractor."""
        return self.choice(DISTRACTOR_COLOURS)
