"""All that decides an examination's numbers."""

from dataclasses import dataclass

from vdt_mlx.errors import VDTError

QUICK, FULL = 8, 100
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

    def __post_init__(self) -> None:
        for name in ("scenarios", "given", "models", "predictions", "code"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
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
        if not self.given or len(set(self.given)) != len(self.given):
            raise VDTError("Give different numbers of context frames.")
