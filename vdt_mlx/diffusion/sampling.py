"""How to sample: one table of samplers, and one frozen `Sampling` that is resolved once and passed whole.

Nothing here computes, so that a command line can read the table without waiting for MLX. To add a sampler: its function
in `diffusion/samplers.py`, and a row here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any

from vdt_mlx.config import SCHEDULES, DiffusionConfig
from vdt_mlx.errors import VDTError

SPACINGS = ("trailing", "leading", "uniform")
"""Which timesteps are visited, see `samplers.timesteps`."""


MOST_GUIDANCE = 100.0


@dataclass(frozen=True)
class Sampler:
    """One row of the table."""

    name: str
    function: str
    """Of `diffusion.samplers`: takes its run, the timesteps and the resolved `Sampling`, and yields steps."""
    about: str
    schedules: tuple[str, ...] = SCHEDULES
    """That it works on."""
    options: tuple[str, ...] = ()
    """Fields of `Sampling` that it has and others have not."""
    spacing: str = "trailing"
    """That it visits timesteps with unless another is asked for."""
    draws: bool = False
    """Whether it draws noise at every step, whatever its options."""
    calls: Callable[[int], int] = int
    """How often one state's way through so many steps calls the network."""

    def load(self) -> Callable[..., Any]:
        """Its function."""
        function: Callable[..., Any] = getattr(import_module("vdt_mlx.diffusion.samplers"), self.function)
        return function


_DDIM_OPTIONS = ("eta", "antithetic", "mirror")

SAMPLERS = {
    row.name: row
    for row in (
        Sampler(
            "ddpm",
            "ddpm",
            "ancestral sampling (arXiv 2006.11239), as the official release does it",
            schedules=("linear",),
            spacing="uniform",
            draws=True,
        ),
        Sampler("ddim", "ddim", "arXiv 2010.02502, with eta", schedules=("linear",), options=_DDIM_OPTIONS),
        Sampler("dpm++", "dpm_solver", "DPM-Solver++(2M), midpoint, data prediction (arXiv 2211.01095)"),
        Sampler("unipc", "unipc", "UniPC of order 2, B(h) = e^h - 1, data prediction (arXiv 2302.04867)"),
        Sampler(
            "euler",
            "euler",
            "first-order steps along the flow's velocity",
            schedules=("flow",),
            options=_DDIM_OPTIONS,
        ),
        Sampler(
            "heun",
            "heun",
            "second-order: every step but the last calls the network twice",
            schedules=("flow",),
            calls=lambda steps: 2 * steps - 1,
        ),
    )
}

OPTIONS = {"eta": "eta", "antithetic": "antithetic pairs", "mirror": "flip averaging"}
"""The options that only some samplers have, and what they are called."""


def having(option: str) -> list[str]:
    """The samplers that have an option."""
    return [row.name for row in SAMPLERS.values() if option in row.options]


def fitting(schedule: str) -> list[str]:
    """The samplers that work on a schedule."""
    return [row.name for row in SAMPLERS.values() if schedule in row.schedules]


@dataclass(frozen=True)
class Sampling:
    """What decides how a clip is sampled. None stands for the checkpoint's own; see `resolved`."""

    sampler: str | None = None
    steps: int | None = None
    eta: float | None = None
    """How much of the noise is drawn anew at every step, 0 (none) to 1 (as much as ancestral sampling does; from pure
    noise, all of it)."""
    antithetic: bool | None = None
    """Whether a second state with the opposite noise is kept, and sampling goes on from the mean of what the network
    predicts at both (antithetic variates). What a prediction owes to the noise cancels to first order, and with it
    much of what makes samples differ: a result is more accurate and less varied."""
    mirror: bool | None = None
    """Flip averaging: whether the network is also asked about the clip with left and right exchanged, and sampling goes
    on from the mean of the two answers; for what is alike to the left and to the right, as the laws of motion are."""
    spacing: str | None = None
    """One of SPACINGS; the sampler's own unless given."""
    chunk: int | None = None
    """Frames that a prediction settles at a time, see `masks.passes`; None after resolving means all at once."""
    label: str | None = None
    """The class to generate, one of the checkpoint's labels; "no class" where none is given."""
    guidance: float | None = None
    """Classifier-free guidance (arXiv 2207.12598): how far to go from what the network says of no class to what it says
    of the label; 1, the default, is the latter alone. Any other asks the network twice."""

    @property
    def is_resolved(self) -> bool:
        """Whether nothing is left for a checkpoint to decide."""
        chosen = (self.sampler, self.steps, self.eta, self.antithetic, self.mirror, self.spacing, self.guidance)
        return all(value is not None for value in chosen)

    def resolved(self, own: DiffusionConfig) -> "Sampling":
        """With the checkpoint's own in the place of every None; its options go with its own sampler only.

        One that was resolved already stays as it is. Raises VDTError: see `check`.
        """
        if self.is_resolved:
            self.check(own)
            return self
        sampler = self.sampler if self.sampler is not None else own.sampler
        mine = sampler == own.sampler
        found = Sampling(
            sampler=sampler,
            steps=self.steps if self.steps is not None else own.steps,
            eta=self.eta if self.eta is not None else own.eta if mine else 0.0,
            antithetic=self.antithetic if self.antithetic is not None else own.antithetic and mine,
            mirror=self.mirror if self.mirror is not None else own.mirror and mine,
            spacing=self.spacing if self.spacing is not None or sampler not in SAMPLERS else SAMPLERS[sampler].spacing,
            chunk=self.chunk if self.chunk is not None else own.chunk,
            label=self.label,
            guidance=self.guidance if self.guidance is not None else 1.0,
        )
        found.check(own)
        return found

    @property
    def row(self) -> Sampler:
        """The sampler's row of the table. Raises VDTError for a sampler that is not in it, or not chosen yet."""
        if self.sampler not in SAMPLERS:
            raise VDTError(f"Unknown sampler {self.sampler!r}: use one of {', '.join(SAMPLERS)}.")
        return SAMPLERS[self.sampler]

    @property
    def calls(self) -> int:
        """Calls of the network, counted by clip and pass.

        Antithetic pairs and flip averaging ask twice as often, and so does guidance.
        """
        assert self.steps is not None
        twice = (self.antithetic, self.mirror, self.guided)
        return self.row.calls(self.steps) * 2 ** sum(map(bool, twice))

    @property
    def guided(self) -> bool:
        return self.guidance is not None and self.guidance != 1

    @property
    def stochastic(self) -> bool:
        """Whether noise is drawn at every step."""
        return self.row.draws or bool(self.eta)

    def without_effect(self, names: Sequence[str] = tuple(OPTIONS)) -> list[str]:
        """The options that are given, whatever their values, though the sampler has none of the kind."""
        return [name for name in names if getattr(self, name) is not None and name not in self.row.options]

    def check(self, own: DiffusionConfig) -> None:
        """Raises VDTError unless this sampler can take this many steps on this schedule with these options."""
        row, steps = self.row, self.steps if self.steps is not None else own.steps
        if self.spacing is not None and self.spacing not in SPACINGS:
            raise VDTError(f"Unknown spacing {self.spacing!r}: use one of {', '.join(SPACINGS)}.")
        if steps < 1:
            raise VDTError(f"Sampling takes at least 1 step, not {steps}.")
        if self.chunk is not None and self.chunk < 1:
            raise VDTError(f"A prediction settles at least 1 frame at a time, not {self.chunk}.")
        if own.schedule not in row.schedules:
            kind = f"{' or '.join(row.schedules)} networks, and this one is of the {own.schedule} schedule"
            raise VDTError(
                f"The sampler {row.name} is for {kind} and predicts {own.prediction}: "
                f"use {_either(fitting(own.schedule))}."
            )
        if own.schedule != "flow" and steps > own.num_train_steps:
            raise VDTError(f"{steps} steps are more than the {own.num_train_steps} of the schedule.")
        for option, what in OPTIONS.items():
            if getattr(self, option) and option not in row.options:
                raise VDTError(f"The sampler {row.name} has no {what}; {' and '.join(having(option))} have.")
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise VDTError(f"eta is between 0 and 1, not {self.eta:g}.")
        if self.guidance is not None and not 0 <= self.guidance <= MOST_GUIDANCE:
            raise VDTError(f"Guidance is between 0 and {MOST_GUIDANCE:g}, not {self.guidance:g}.")
        if self.guided and self.label is None:
            raise VDTError("Guidance leads to a label, and none is given.")

    def changed(self, **changes: Any) -> "Sampling":
        """A copy with some fields of other values. Raises VDTError for a name that is no field."""
        known = [item.name for item in fields(self)]
        for name in changes:
            if name not in known:
                raise VDTError(f"Unknown sampling option {name!r}: there are {', '.join(known)}.")
        return replace(self, **changes)

    @property
    def title(self) -> str:
        """In a few words, of a resolved one: `euler, 2 steps, eta 1, antithetic pairs, flip averaging`."""
        words = [str(self.sampler), f"{self.steps} steps" if self.steps != 1 else "1 step"]
        words += [f"eta {self.eta:g}"] if self.eta else []
        words += [OPTIONS[name] for name in ("antithetic", "mirror") if getattr(self, name)]
        words += [f"{self.chunk} frames at a time"] if self.chunk else []
        words += [f"label {self.label}"] if self.label is not None else []
        words += [f"guidance {self.guidance:g}"] if self.guided else []
        return ", ".join(words)


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
