"""All that decides an examination's numbers."""

from dataclasses import dataclass

from evals.report.table import headline
from physics_sim.worlds import WORLD_VERSION, World, find_profile
from vdt_mlx.errors import VDTError

QUICK, FULL = 5, 100
"""Clips a scenario."""
QUICK_LIBRARY, FULL_LIBRARY = 64, 500
"""Training clips a scenario, for the nearest one."""


@dataclass(frozen=True)
class Settings:
    """All that decides the numbers; saved with the results. Raises VDTError for what does not fit."""

    scenarios: tuple[str, ...] = ("all",)
    clips: int = QUICK
    given: tuple[int, ...] = (8,)
    models: tuple[str, ...] = ("physics",)
    predictions: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    samples: int = 1
    sampler: str | None = None
    steps: int | None = None
    seed: int = 0
    dtype: str = "fp32"
    autoencoder: str | None = None
    suite_seed: int = 0
    library: int = QUICK_LIBRARY
    lpips: bool = False
    size: int = 64
    world: World = WORLD_VERSION
    """Version of the simulated world (`physics_sim.worlds`)."""
    frames: int | None = None
    """Frames of a clip; as many as the world's clips have by default."""
    suite: str | None = None
    """A folder of labelled clips of one's own, instead of the simulator's."""
    data: str | None = None
    """A file of PhyWorld's, with the suite "phyworld"."""
    colours: str | None = None
    """Of objects whose labels say none: name=#rrggbb,name=#rrggbb."""
    sections: tuple[str, ...] = ()
    """Parts beside the rows (`evals.section`), or "all"."""

    def __post_init__(self) -> None:
        for name in ("scenarios", "given", "models", "predictions", "code", "sections"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "world", find_profile(self.world).world)
        for name, low, high, what in (
            ("clips", 1, 10_000, "clips a scenario"),
            ("samples", 1, 64, "samples a clip"),
            ("size", 16, 512, "pixels"),
            ("library", 1, 100_000, "training clips"),
            ("seed", 0, 2**63 - 1, ""),
            ("suite_seed", 0, 2**63 - 1, ""),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                most = f"{high:,}" if high < 2**62 else "2^63 - 1"
                raise VDTError(f"{name.replace('_', ' ')} {value} does not fit: {low} to {most} {what}".rstrip() + ".")
        if self.steps is not None and not 1 <= self.steps <= 10_000:
            raise VDTError(f"steps {self.steps} does not fit: 1 to 10,000.")
        if self.frames is not None and not 2 <= self.frames <= 1000:
            raise VDTError(f"frames {self.frames} does not fit: 2 to 1000.")
        if not self.given or len(set(self.given)) != len(self.given):
            raise VDTError("Give different numbers of context frames.")

    @property
    def headline(self) -> int:
        """The number of context frames that headlines, verdict and gallery are about."""
        return headline(self.given)
