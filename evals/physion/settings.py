"""All that decides the numbers of `python -m evals.physion`."""

from dataclasses import dataclass

from vdt_mlx.errors import VDTError

USUAL = {9: (5, 16), 3: (15, 50)}
"""By stride, the given frames and the frames of a clip: FitVid's in the paper, SlotFormer's."""


@dataclass(frozen=True)
class Settings:
    """Saved with the results. Raises VDTError for what does not fit."""

    data: str
    model: str = "physics"
    labels: str | None = None
    readout: str | None = None
    """Folder of clips that the readout is fitted on; without one, the clips of `data` take turns."""
    scenarios: tuple[str, ...] = ("all",)
    films: str = "redyellow"
    stride: int = 9
    given: int = 5
    frames: int = 16
    clips: int | None = None
    """At most so many a scenario."""
    seeds: tuple[int, ...] = (0, 1, 2)
    part: str = "network"
    block: str | None = None
    timestep: float | None = None
    sampler: str | None = None
    steps: int | None = None
    dtype: str = "fp32"
    autoencoder: str | None = None
    fit: str = "crop"

    def __post_init__(self) -> None:
        for name, low, high in (("stride", 1, 1000), ("given", 1, 1000), ("frames", 2, 1000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise VDTError(f"{name} {value} does not fit: {low} to {high}.")
        if self.given >= self.frames:
            raise VDTError(f"{self.given} given frames leave nothing of clips of {self.frames} frames.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or not all(0 <= s < 2**32 for s in self.seeds):
            raise VDTError("Give different seeds, each from 0 to 2^32 - 1.")
        if self.steps is not None and not 1 <= self.steps <= 10_000:
            raise VDTError(f"steps {self.steps} does not fit: 1 to 10,000.")


def usual(stride: int, given: int | None, frames: int | None) -> tuple[int, int]:
    """The given frames and the frames of a clip for a stride, where they are not said. Raises VDTError."""
    if stride in USUAL:
        return given or USUAL[stride][0], frames or USUAL[stride][1]
    if given is None or frames is None:
        known = " and ".join(str(one) for one in USUAL)
        raise VDTError(
            f"With stride {stride} say how many frames are given and how many a clip has (known at {known})."
        )
    return given, frames
