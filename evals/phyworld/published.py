"""What PhyWorld's paper says of its own models, as rows beside ours."""

from dataclasses import asdict, dataclass
from typing import Any

SOURCE = "Kang et al., How Far is Video Generation from World Model (arXiv 2411.02385)"


@dataclass(frozen=True)
class Published:
    """A number of the paper: of a model, by its script, at its own sizes of pictures (128 and 256 pixels)."""

    model: str
    law: str
    metric: str
    inside: float | None
    """In distribution."""
    outside: tuple[float, float] | None
    """Out of distribution: the least and the largest that its models have."""
    source: str = SOURCE

    def described(self) -> dict[str, Any]:
        """Its entry in results.json."""
        return {**asdict(self), "outside": None if self.outside is None else list(self.outside)}


_ROWS = (
    Published("DiT-S, 30K clips", "uniform", "phyworld_vel_error", 0.022, None),
    Published("DiT-L, 3M clips", "uniform", "phyworld_vel_error", 0.012, None),
    Published("DiT-S, DiT-B and DiT-L, 30K to 3M clips", "uniform", "phyworld_vel_error", None, (0.33, 0.43)),
    Published("true frames", "uniform", "phyworld_vel_error", 0.0099, None),
)


def published(law: str) -> list[Published]:
    """The rows of a law; none where the paper gives curves only."""
    return [row for row in _ROWS if row.law == law]
