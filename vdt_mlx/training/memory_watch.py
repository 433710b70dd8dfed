"""How much memory a training holds, looked at now and then over its hours; growth is told before it ends the run."""

import time
from collections.abc import Callable

from vdt_mlx.device.memory import footprint_bytes, machine_bytes

EVERY = 60.0
"""Seconds between two looks."""
FULL = 0.85
"""The part of the machine's memory that is too much."""
GIB = 2.0**30


class MemoryWatch:
    """Looks at this process's memory, its GPU's included."""

    def __init__(
        self,
        held: Callable[[], int | None] = footprint_bytes,
        there: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """`held`: bytes held now; `there`: bytes that the machine has, its own by default; `clock`: seconds."""
        self.held, self.clock = held, clock
        self.there = there or machine_bytes()
        self.first: tuple[float, int] | None = None
        self.last = clock()
        self.told = False

    def look(self) -> dict[str, float] | None:
        """`memory_gb` held, and `grown_gb` since the first look; None where it is not time yet, or nothing is known."""
        now = self.clock()
        if now - self.last < EVERY:
            return None
        self.last = now
        held = self.held()
        if held is None:
            return None
        self.first = self.first or (now, held)
        return {"memory_gb": round(held / GIB, 3), "grown_gb": round((held - self.first[1]) / GIB, 3)}

    def warning(self, seen: dict[str, float]) -> str | None:
        """A sentence, once, when what was seen is most of what the machine has."""
        if self.told or self.first is None or not self.there or seen["memory_gb"] * GIB < FULL * self.there:
            return None
        self.told = True
        hours = (self.last - self.first[0]) / 3600
        return (
            f"The training holds {seen['memory_gb']:.1f} GB of this machine's {self.there / GIB:.1f} GB, "
            f"{max(seen['grown_gb'], 0.0):.1f} GB more than {hours:.1f} hours ago: the system may end it. "
            "Ctrl-C saves; --resume goes on with what it needs."
        )
